/* Runs the operations of a training step on the CPU: each product by its definition, each kernel for one
 * thread after the other.
 *
 *     graph IN OUT BACKWARDS
 *
 * The kernels are given as -DKERNEL_SOURCE. Their threads come in the order of their numbers, or backwards:
 * where one reads what another writes, the results differ.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long long thread;
#define this_thread() thread
#define DEVICE static inline
#define KERNEL static void
#define DIVIDE(a, b) ((a) / (b))
#include FORMULAS
#include KERNEL_SOURCE

static const struct {
    const char *name;
    void (*kernel)(Arrays, Numbers);
} kernels[] = {
    {"gather", gather},
    {"clear", clear},
    {"gates_forward", gates_forward},
    {"gates_backward", gates_backward},
    {"sum_over_time", sum_over_time},
    {"errors", errors},
    {"partial_sums", partial_sums},
    {"sums_of_sums", sums_of_sums},
    {"descend", descend},
    {"report_loss", report_loss},
};

static void fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static FILE *in;

static void read_all(void *to, size_t size, size_t count)
{
    if (fread(to, size, count, in) != count)
        fail("the input is too short");
}

/* So many of them, in memory of exactly their size. */
static void *array(size_t size, long long count)
{
    void *memory = malloc(size * (size_t)count);
    if (!memory)
        fail("no memory");
    read_all(memory, size, (size_t)count);
    return memory;
}

/* As cublasSgemm: n is m, n, k, whether to add; of each matrix: where it begins, from a column to the next,
 * whether transposed */
static void product(float *arena, const long long *n)
{
    const long long *a = n + 4, *b = n + 7, *c = n + 10;
    /* What cublasSgemm asks for. */
    if (a[1] < (a[2] ? n[2] : n[0]) || b[1] < (b[2] ? n[1] : n[2]) || c[1] < n[0])
        fail("a leading dimension is too small");
    for (long long j = 0; j < n[1]; j++) {
        for (long long i = 0; i < n[0]; i++) {
            double sum = 0.0;
            for (long long k = 0; k < n[2]; k++) {
                float x = arena[a[0] + (a[2] ? i * a[1] + k : k * a[1] + i)];
                float y = arena[b[0] + (b[2] ? k * b[1] + j : j * b[1] + k)];
                sum += (double)x * y;
            }
            float *to = arena + c[0] + j * c[1] + i;
            *to = (float)(n[3] ? *to + sum : sum);
        }
    }
}

int main(int count, char **arguments)
{
    long long sizes[7]; /* past, future, indices, arena, sums, steps, floats to write */
    if (count != 4 || !(in = fopen(arguments[1], "rb")))
        fail("wants IN OUT BACKWARDS");
    const int backwards = atoi(arguments[3]);
    FILE *out = fopen(arguments[2], "wb");
    if (!out)
        fail("cannot write");
    read_all(sizes, sizeof *sizes, 7);
    Arrays arrays;
    arrays.past = array(sizeof(float), sizes[0]);
    arrays.future = array(sizeof(float), sizes[1]);
    arrays.order = array(sizeof(int), sizes[2]);
    arrays.arena = array(sizeof(float), sizes[3]);
    const Step *steps = array(sizeof(Step), sizes[5]);
    arrays.sums = malloc((size_t)sizes[4] * sizeof(double));
    arrays.losses = malloc((size_t)sizes[5] * sizeof(float));
    if (!arrays.sums || !arrays.losses)
        fail("no memory");
    for (long long i = 0; i < sizes[4]; i++)
        arrays.sums[i] = NAN;
    for (long long step = 0; step < sizes[5]; step++) {
        arrays.step = steps + step;
        long long operations;
        read_all(&operations, sizeof operations, 1);
        for (; operations > 0; operations--) {
            char name[16];
            long long n[13]; /* of a kernel: its threads, its numbers */
            read_all(name, 1, sizeof name);
            read_all(n, sizeof *n, 13);
            if (!strncmp(name, "product", sizeof name)) {
                product(arrays.arena, n);
                continue;
            }
            Numbers numbers;
            memcpy(numbers.n, n + 1, sizeof numbers.n);
            size_t k = 0;
            while (k < sizeof kernels / sizeof *kernels && strncmp(name, kernels[k].name, sizeof name))
                k++;
            if (k == sizeof kernels / sizeof *kernels)
                fail("there is no such kernel");
            /* The last block is whole. */
            const long long threads = (n[0] + 255) / 256 * 256;
            for (long long i = 0; i < threads; i++) {
                thread = backwards ? threads - 1 - i : i;
                kernels[k].kernel(arrays, numbers);
            }
        }
        fwrite(arrays.arena, sizeof(float), (size_t)sizes[6], out);
        fwrite(arrays.losses + step, sizeof(float), 1, out);
    }
    return fclose(out) != 0;
}
