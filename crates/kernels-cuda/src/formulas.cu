/* What the kernels have in common: the formulas of the gates and of the optimiser.
 *
 * The language is what C and CUDA C have in common: the tests compile it with the C compiler.
 */
#ifdef __CUDACC__
#define DEVICE static __device__ __forceinline__
#define DIVIDE(a, b) __fdividef(a, b)
#endif

/* What changes from step to step. */
typedef struct {
    int first;           /* of the batch, in `order` */
    int count;           /* series of the batch */
    int loss;            /* where the loss goes */
    int parts;           /* threads that add up the gradient of a float4 of weights: a power of two */
    int optimizer;       /* 0 Adam, 1 RMSProp, 2 SGD */
    float factor;        /* the loss as a multiple of the squared errors */
    float rate;
    float weight_decay;
    float root;          /* 1 / sqrt(1 - beta_2^t) */
    float keep_momentum; /* beta_1, or mu */
    float add_momentum;  /* 1 - beta_1 */
    float keep_square;   /* beta_2, or rho */
    float add_square;    /* 1 - beta_2, or 1 - rho */
    float epsilon;
    double clip_norm;    /* 0 for none */
} Step;

DEVICE float sigmoid(float x)
{
    return DIVIDE(1.0f, 1.0f + expf(-x));
}

/* The rational function of `activation.rs`. */
DEVICE float tanh_of(float x)
{
    x = x != x ? x : fminf(fmaxf(x, -8.017734f), 8.017734f);
    float x2 = x * x;
    float p = 1.3945536e-8f, q = 8.015777e-7f;
    p = fmaf(p, x2, 2.1027336e-5f);
    p = fmaf(p, x2, 3.5207567e-3f);
    p = fmaf(p, x2, 1.3402161e-1f);
    p = fmaf(p, x2, 1.0f);
    q = fmaf(q, x2, 3.3269514e-4f);
    q = fmaf(q, x2, 2.5972545e-2f);
    q = fmaf(q, x2, 4.6735483e-1f);
    q = fmaf(q, x2, 1.0f);
    return x * DIVIDE(p, q);
}

/* The new weight by its gradient, and the optimiser's m and v: the formulas of `optimizer.rs`, L2 first. */
DEVICE float update(Step step, float *m, float *v, float w, float g)
{
    g = fmaf(step.weight_decay, w, g);
    if (step.optimizer == 0) {
        *m = fmaf(step.add_momentum, g, *m * step.keep_momentum);
        *v = fmaf(step.add_square, g * g, *v * step.keep_square);
        return w - step.rate * (*m / fmaf(sqrtf(*v), step.root, step.epsilon));
    }
    if (step.optimizer == 1) {
        *v = fmaf(step.add_square, g * g, *v * step.keep_square);
        g /= sqrtf(*v) + step.epsilon;
    }
    *m = fmaf(step.keep_momentum, *m, g);
    return w - step.rate * *m;
}
