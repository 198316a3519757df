/* Runs the CUDA kernel on the CPU: every thread of every block is a fibre.
 *
 *     fused IN OUT SEED
 *
 * The compiler is given the plan's #defines with -include, and the kernel as -DKERNEL_SOURCE. A fibre runs
 * until it waits: for its warp, its block, or other blocks. Then the next one does, in the order of their
 * numbers (SEED 0), or in an order that is shuffled after each round: where a barrier is missing, the
 * results differ. Memory that the kernel has not written is NaN.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define START_SWITCH(save, stack) __sanitizer_start_switch_fiber(save, (stack)->ss_sp, (stack)->ss_size)
#define FINISH_SWITCH(save, bottom, size) __sanitizer_finish_switch_fiber(save, bottom, size)
#else
#define START_SWITCH(save, stack) ((void)(save), (void)(stack))
#define FINISH_SWITCH(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#endif

typedef struct { float x, y; } __attribute__((aligned(8))) float2;
typedef struct { float x, y, z, w; } __attribute__((aligned(16))) float4;
typedef struct { unsigned x; } Index;

/* Threads that wait for each other. */
typedef struct {
    int arrived, size;
    unsigned generation;
} Barrier;

typedef struct {
    Barrier barrier;
    float values[2][32];
} Warp;

typedef struct {
    Barrier barrier;
    float *shared;
    Warp *warps;
} Block;

typedef struct {
    ucontext_t context;
    Index thread, block_index;
    Block *block;
    Warp *warp;
    Barrier *waits; /* and until its generation changes */
    unsigned generation;
    unsigned shuffles;
    int done;
    void *fake;
} Fibre;

static ucontext_t scheduler;
static stack_t scheduler_stack;
static void *scheduler_fake;
static Fibre *self;
static Index gridDim;
#define this_thread() ((int)self->thread.x)
#define blockIdx (self->block_index)

static void leave(void)
{
    Fibre *fibre = self;
    START_SWITCH(fibre->done ? NULL : &fibre->fake, &scheduler_stack);
    swapcontext(&fibre->context, &scheduler);
    FINISH_SWITCH(fibre->fake, NULL, NULL);
}

static void wait_at(Barrier *barrier)
{
    if (++barrier->arrived == barrier->size) {
        barrier->arrived = 0;
        barrier->generation++;
        return;
    }
    self->waits = barrier;
    self->generation = barrier->generation;
    leave();
}

static float exchange(float value, int mask)
{
    float *values = self->warp->values[self->shuffles++ % 2];
    values[self->thread.x % 32] = value;
    wait_at(&self->warp->barrier);
    return values[(self->thread.x % 32) ^ mask];
}

static unsigned add(unsigned *to, unsigned value)
{
    unsigned before = *to;
    *to += value;
    return before;
}

#define DEVICE static inline
#define UNROLL
#define UNROLL_BY_4
#define READ_SHARED_BY_BLOCKS(pointer) (*(pointer))
#define KERNEL static void
#define DYNAMIC_SHARED(name) float *name = self->block->shared
#define DIVIDE(a, b) ((a) / (b))
#define WAIT() leave()
#define __syncthreads() wait_at(&self->block->barrier)
#define __shfl_xor_sync(mask, value, lanes) exchange(value, lanes)
#define __threadfence() ((void)0)
#define atomicAdd(pointer, value) add(pointer, value)
#include FORMULAS
#include KERNEL_SOURCE

#define STACK 65536

static Buffers buffers;
static Step step;

static void run(void)
{
    FINISH_SWITCH(NULL, (const void **)&scheduler_stack.ss_sp, &scheduler_stack.ss_size);
    train_step(buffers, step);
    self->done = 1;
    leave();
}

static void fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static unsigned long long state;

static int random_below(int n)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (int)((state >> 33) % (unsigned)n);
}

/* Numbers from a file, in memory of exactly their size; those that are not there are `otherwise`. */
static void *numbers(FILE *file, long count, float otherwise)
{
    float *memory = aligned_alloc(16, (size_t)(count > 0 ? (count + 3) / 4 * 16 : 16));
    if (!memory)
        fail("no memory");
    if (file && fread(memory, 4, (size_t)count, file) != (size_t)count)
        fail("the input is too short");
    for (long i = 0; !file && i < count; i++)
        memory[i] = otherwise;
    return memory;
}

static void write_all(FILE *file, const void *values, long count)
{
    if (fwrite(values, 4, (size_t)count, file) != (size_t)count)
        fail("cannot write");
}

int main(int count, char **arguments)
{
    int sizes[5]; /* windows, indices, launches, blocks, packed weights */
    if (count != 4)
        fail("wants IN OUT SEED");
    FILE *in = fopen(arguments[1], "rb");
    if (!in || fread(sizes, 4, 5, in) != 5)
        fail("cannot read");
    const int launches = sizes[2], blocks = sizes[3], seed = atoi(arguments[3]);
    state = (unsigned)seed;
    gridDim.x = (unsigned)blocks;
    buffers.past = numbers(in, (long)sizes[0] * PAST * FEATURES, 0);
    buffers.future = numbers(in, (long)sizes[0] * FUTURE * OUTPUTS, 0);
    buffers.order = numbers(in, sizes[1], 0);
    buffers.weights = numbers(in, ELEMENTS, 0);
    buffers.packed = numbers(in, sizes[4], 0);
    buffers.forward_place = numbers(in, ELEMENTS, 0);
    buffers.backward_place = numbers(in, ELEMENTS, 0);
    buffers.momentum = numbers(NULL, ELEMENTS, 0);
    buffers.square = numbers(NULL, ELEMENTS, 0);
    buffers.gradient = numbers(NULL, ELEMENTS, NAN);
    buffers.partial = numbers(NULL, (long)blocks * ELEMENTS, 0);
    buffers.squares = numbers(NULL, blocks, NAN);
    buffers.lengths = numbers(NULL, 2L * blocks, NAN);
    buffers.scratch = numbers(NULL, (long)blocks * KEPT, 0);
    buffers.losses = numbers(NULL, launches, NAN);
    buffers.barrier = numbers(NULL, 2, 0);

    const int total = blocks * THREADS;
    Fibre *fibres = calloc((size_t)total, sizeof *fibres);
    Block *block = calloc((size_t)blocks, sizeof *block);
    char *stacks = malloc((size_t)total * STACK);
    int *order = malloc((size_t)total * sizeof *order);
    if (!fibres || !block || !stacks || !order)
        fail("no memory");
    for (int b = 0; b < blocks; b++) {
        block[b].warps = calloc(THREADS / 32, sizeof(Warp));
        block[b].shared = numbers(NULL, SHARED, NAN);
    }
    FILE *out = fopen(arguments[2], "wb");
    if (!out)
        fail("cannot write");
    for (int launch = 0; launch < launches; launch++) {
        if (fread(&step, sizeof step, 1, in) != 1)
            fail("the input has no more steps");
        for (int b = 0; b < blocks; b++) {
            block[b].barrier = (Barrier){0, THREADS, 0};
            for (int w = 0; w < THREADS / 32; w++)
                block[b].warps[w].barrier = (Barrier){0, 32, 0};
            for (int i = 0; i < SHARED; i++)
                block[b].shared[i] = NAN;
        }
        for (int i = 0; i < total; i++) {
            Fibre *fibre = fibres + i;
            memset(fibre, 0, sizeof *fibre);
            fibre->block_index.x = (unsigned)(i / THREADS);
            fibre->thread.x = (unsigned)(i % THREADS);
            fibre->block = block + i / THREADS;
            fibre->warp = fibre->block->warps + i % THREADS / 32;
            getcontext(&fibre->context);
            fibre->context.uc_stack.ss_sp = stacks + (size_t)i * STACK;
            fibre->context.uc_stack.ss_size = STACK;
            makecontext(&fibre->context, run, 0);
            order[i] = i;
        }
        for (int running = total; running > 0;) {
            int moved = 0;
            for (int i = total - 1; seed && i > 0; i--) {
                int j = random_below(i + 1), other = order[j];
                order[j] = order[i];
                order[i] = other;
            }
            for (int i = 0; i < total; i++) {
                self = fibres + order[i];
                if (self->done || (self->waits && self->waits->generation == self->generation))
                    continue;
                self->waits = NULL;
                moved = 1;
                START_SWITCH(&scheduler_fake, &self->context.uc_stack);
                swapcontext(&scheduler, &self->context);
                FINISH_SWITCH(scheduler_fake, NULL, NULL);
                running -= self->done;
            }
            if (!moved)
                fail("all threads wait: some have not come to a barrier");
        }
        write_all(out, buffers.weights, ELEMENTS);
        write_all(out, buffers.momentum, ELEMENTS);
        write_all(out, buffers.square, ELEMENTS);
        write_all(out, buffers.gradient, ELEMENTS);
        write_all(out, buffers.losses + launch, 1);
    }
    return fclose(out) != 0;
}
