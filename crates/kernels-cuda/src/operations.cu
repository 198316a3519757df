/* What lies between the matrix products of a training step: the gates, the errors, the sums, the optimiser.
 *
 * `operations.rs` says in which order they come, and with which numbers. Each kernel has a thread for each
 * number that it writes and no barrier, so that the tests can run it in a loop; sums are taken in stages,
 * whose order does not depend on who is first. Matrices are row by row in one array, the arena, and the
 * numbers are where they begin in it.
 */
#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void
static __device__ __forceinline__ long long this_thread(void)
{
    return (long long)blockIdx.x * blockDim.x + threadIdx.x;
}
#endif

typedef struct {
    float *arena;
    double *sums;
    const float *past;   /* (N, P, D) */
    const float *future; /* (N, F, O) */
    const int *order;    /* indices of windows */
    const Step *step;    /* this one */
    float *losses;       /* written */
} Arrays;

typedef struct {
    long long n[12];
} Numbers;

/* Windows to rows of a step's series: the past to (P, B, D), the future to (F, B, O).
 * n: B, P, D, F, O, past, future */
KERNEL gather(Arrays arrays, Numbers numbers)
{
    const long long *n = numbers.n;
    const long long batch = n[0], past = n[1] * n[2], future = n[3] * n[4];
    const Step step = *arrays.step;
    long long i = this_thread();
    if (i < batch * past) {
        const long long t = i / (batch * n[2]), b = i / n[2] % batch, d = i % n[2];
        arrays.arena[n[5] + i] = arrays.past[arrays.order[step.first + b] * past + t * n[2] + d];
        return;
    }
    i -= batch * past;
    if (i < batch * future) {
        const long long t = i / (batch * n[4]), b = i / n[4] % batch, o = i % n[4];
        arrays.arena[n[6] + i] = arrays.future[arrays.order[step.first + b] * future + t * n[4] + o];
    }
}

/* The states before the first step, and the gradient of those after the last. n: count, array, array */
KERNEL clear(Arrays arrays, Numbers numbers)
{
    const long long i = this_thread();
    if (i >= numbers.n[0])
        return;
    arrays.arena[numbers.n[1] + i] = 0.0f;
    arrays.arena[numbers.n[2] + i] = 0.0f;
}

/* The gates and the next states of a step, from the products of the input (n, r, z) and of the states
 * before (r, z, n). What backward needs is left in the gates: n, r, z, u.
 * n: B, H, input or -1 (B, 3H), its stride, recurrent (B, 3H), bias_ih (n, r, z), bias_hh (r, z, n),
 *    before (B, H), gates (B, 4H), after (B, H) */
KERNEL gates_forward(Arrays arrays, Numbers numbers)
{
    const long long *n = numbers.n;
    const long long h = n[1], i = this_thread(), b = i / h, j = i % h;
    if (i >= n[0] * h)
        return;
    float *arena = arrays.arena;
    const float *recurrent = arena + n[4] + b * 3 * h + j;
    const float *bias_ih = arena + n[5] + j, *bias_hh = arena + n[6] + j;
    float of_n = bias_ih[0], of_r = bias_ih[h] + bias_hh[0], of_z = bias_ih[2 * h] + bias_hh[h];
    if (n[2] >= 0) {
        const float *input = arena + n[2] + b * n[3] + j;
        of_n += input[0];
        of_r += input[h];
        of_z += input[2 * h];
    }
    const float r = sigmoid(of_r + recurrent[0]);
    const float z = sigmoid(of_z + recurrent[h]);
    const float u = recurrent[2 * h] + bias_hh[2 * h];
    const float new_state = tanh_of(fmaf(r, u, of_n));
    float *gates = arena + n[8] + b * 4 * h + j;
    gates[0] = new_state;
    gates[h] = r;
    gates[2 * h] = z;
    gates[3 * h] = u;
    arena[n[9] + i] = fmaf(z, arena[n[7] + i] - new_state, new_state);
}

/* The gradients of a step's gates in their place, and what of the states' gradient passes them by.
 * n: B, H, gates (B, 4H), before (B, H), upstream or -1 (B, H), carry (B, H) */
KERNEL gates_backward(Arrays arrays, Numbers numbers)
{
    const long long *n = numbers.n;
    const long long h = n[1], i = this_thread(), b = i / h, j = i % h;
    if (i >= n[0] * h)
        return;
    float *gates = arrays.arena + n[2] + b * 4 * h + j;
    float *carry = arrays.arena + n[5] + i;
    float g = *carry;
    if (n[4] >= 0)
        g += arrays.arena[n[4] + i];
    const float new_state = gates[0], r = gates[h], z = gates[2 * h], u = gates[3 * h];
    const float of_n = g * (1.0f - z) * (1.0f - new_state * new_state);
    gates[0] = of_n;
    gates[h] = of_n * u * r * (1.0f - r);
    gates[2 * h] = g * (arrays.arena[n[3] + i] - new_state) * z * (1.0f - z);
    gates[3 * h] = of_n * r;
    *carry = g * z;
}

/* The gradient of an input that is the same at all steps meets the sum of the gates' over time.
 * n: B, H, T, gates (T, B, 4H), to (B, 3H) */
KERNEL sum_over_time(Arrays arrays, Numbers numbers)
{
    const long long *n = numbers.n;
    const long long width = 3 * n[1], i = this_thread(), b = i / width, j = i % width;
    if (i >= n[0] * width)
        return;
    const float *gates = arrays.arena + n[3] + b * 4 * n[1] + j;
    float sum = 0.0f;
    for (long long t = 0; t < n[2]; t++)
        sum += gates[t * n[0] * 4 * n[1]];
    arrays.arena[n[4] + i] = sum;
}

/* The errors of the predictions, which lack their bias yet: squared, and as the loss's gradient in their
 * place. n: count, O, predictions, future, bias, squares */
KERNEL errors(Arrays arrays, Numbers numbers)
{
    const long long *n = numbers.n;
    const long long i = this_thread();
    if (i >= n[0])
        return;
    float *arena = arrays.arena;
    const float error = arena[n[2] + i] + arena[n[4] + i % n[1]] - arena[n[3] + i];
    arena[n[5] + i] = error * error;
    arena[n[2] + i] = 2.0f * arrays.step->factor * error;
}

/* Every so-manieth number of an array, added up; then the same of these sums.
 * n: how many sums, array, count, to, whether squares */
KERNEL partial_sums(Arrays arrays, Numbers numbers)
{
    const long long *n = numbers.n;
    const long long i = this_thread();
    if (i >= n[0])
        return;
    const float *from = arrays.arena + n[1];
    double sum = 0.0;
    for (long long k = i; k < n[2]; k += n[0])
        sum += n[4] ? (double)from[k] * from[k] : (double)from[k];
    arrays.sums[n[3] + i] = sum;
}

/* n: how many sums, sums, count, to */
KERNEL sums_of_sums(Arrays arrays, Numbers numbers)
{
    const long long *n = numbers.n;
    const long long i = this_thread();
    if (i >= n[0])
        return;
    double sum = 0.0;
    for (long long k = i; k < n[2]; k += n[0])
        sum += arrays.sums[n[1] + k];
    arrays.sums[n[3] + i] = sum;
}

/* L2, clipping, the optimiser. n: count, weights, momentum, square, gradient, squared length or -1 */
KERNEL descend(Arrays arrays, Numbers numbers)
{
    const long long *n = numbers.n;
    const long long i = this_thread();
    if (i >= n[0])
        return;
    const Step step = *arrays.step;
    float *arena = arrays.arena, scale = 1.0f;
    if (n[5] >= 0) {
        const double most = step.clip_norm / (sqrt(arrays.sums[n[5]]) + 1e-6);
        if (most < 1.0)
            scale = (float)most;
    }
    float *w = arena + n[1] + i;
    *w = update(step, arena + n[2] + i, arena + n[3] + i, *w, scale * arena[n[4] + i]);
}

/* n: squared errors */
KERNEL report_loss(Arrays arrays, Numbers numbers)
{
    const Step step = *arrays.step;
    if (this_thread() == 0)
        arrays.losses[step.loss] = (float)(step.factor * arrays.sums[numbers.n[0]]);
}
