/* One training step of the encoder-decoder: forward, loss, backward, sum of the gradients, optimiser.
 *
 * `plan.rs` writes the sizes as #defines before this text, and says what each one means; `mod.rs` has the
 * idea. The language is what C and CUDA C have in common: the tests compile it with the C compiler, and
 * run every thread on the CPU.
 */
#ifdef __CUDACC__
#define UNROLL _Pragma("unroll")
#define UNROLL_BY_4 _Pragma("unroll 4")
/* Reads what other blocks have written, past the first-level cache. */
#define READ_SHARED_BY_BLOCKS(pointer) __ldcg(pointer)
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS, 1)
#define DYNAMIC_SHARED(name)                                                                           \
    extern __shared__ float4 name##_of_block[];                                                        \
    float *name = (float *)name##_of_block
#define WAIT()
/* Read anew where it is asked for: what is computed from it is not kept in registers from one part of the
 * step to the next. */
static __device__ __forceinline__ int this_thread(void)
{
    int thread;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    return thread;
}
#endif

/* A row of `units` values of SERIES series, series next to each other; whole float4s. */
#define ROUND4(n) (((n) + 3) / 4 * 4)
#define ROW(units) ROUND4((units) * SERIES)
/* Units that a float4 has a part of. */
#define UNITS (4 / SERIES)
/* Float4s of a row that each of some lanes reads. */
#define PER_LANE(row, lanes) (((row) / 4 + (lanes) - 1) / (lanes))
/* Series that a lane ends up with, after the lanes of a unit have added up. */
#define OWN(lanes) (SERIES > (lanes) ? SERIES / (lanes) : 1)
#define ALL_LANES 0xffffffffu

#define ENCODER 0
#define DECODER 1
#define TOP (LAYERS - 1)
#define STEPS(side) ((side) == ENCODER ? PAST : FUTURE)
#define INPUTS(side, l)                                                                                \
    ((l) > 0 ? HIDDEN((l) > 0 ? (l) - 1 : 0)                                                           \
             : (side) == DECODER && REPEAT_LAST ? HIDDEN(TOP) : FEATURES)
/* Whether a layer reads another row at each step. */
#define HAS_INPUT(side, l) ((l) > 0 || (side) == ENCODER)
/* The parts of a layer's weights. */
#define WEIGHT_IH(side, l) LAYER_AT(side, l)
#define WEIGHT_HH(side, l) (WEIGHT_IH(side, l) + 3 * HIDDEN(l) * ROUND4(INPUTS(side, l)))
#define BIAS_IH(side, l) (WEIGHT_HH(side, l) + 3 * HIDDEN(l) * ROUND4(HIDDEN(l)))
#define BIAS_HH(side, l) (BIAS_IH(side, l) + ROUND4(3 * HIDDEN(l)))
#define DENSE_BIAS (DENSE_AT + OUTPUTS * ROUND4(HIDDEN(TOP)))
/* Weights of a thread, by what they multiply. */
#define FORWARD_INPUT(side, l) (3 * UNITS * PER_LANE(ROW(INPUTS(side, l)), FORWARD_LANES(l)))
#define FORWARD_HIDDEN(l) (3 * UNITS * PER_LANE(ROW(HIDDEN(l)), FORWARD_LANES(l)))
#define BACKWARD_HIDDEN(l) (UNITS * PER_LANE(3 * ROW(HIDDEN(l)), BACKWARD_LANES(l)))
/* Of the gates that the layer above has the gradients of; at the top, of the outputs. */
#define ABOVE(side, l)                                                                                 \
    ((l) < TOP ? 3 * ROW(HIDDEN((l) < TOP ? (l) + 1 : TOP)) : (side) == DECODER ? ROW(OUTPUTS) : 0)
#define BACKWARD_ABOVE(side, l) (UNITS * PER_LANE(ABOVE(side, l), BACKWARD_LANES(l)))
#define BACKWARD_CONTEXT (UNITS * PER_LANE(3 * ROW(HIDDEN(0)), BACKWARD_LANES(TOP)))

/* What stays the same from step to step; (B) are the blocks of the grid. */
typedef struct {
    const float *past;           /* (N, P, D) */
    const float *future;         /* (N, F, O) */
    const int *order;            /* indices of windows */
    float *weights;              /* (ELEMENTS): as the plan lays them out, padded with zeros */
    float *momentum;             /* (ELEMENTS): m of the optimiser */
    float *square;               /* (ELEMENTS): v of the optimiser */
    float *gradient;             /* (ELEMENTS): written */
    float *packed;               /* (PACKED): the weights as the threads hold them */
    const int *forward_place;    /* (ELEMENTS): where a weight stands in `packed`, or -1 */
    const int *backward_place;   /* (ELEMENTS): the same for the backward pass */
    float *partial;              /* (B, ELEMENTS): gradients of the blocks; zeros at first */
    float *squares;              /* (B): squared errors of the blocks */
    double *lengths;             /* (B): squared lengths of the blocks' parts of the gradient */
    float *scratch;              /* (B, KEPT): activations, unless they fit into shared memory; zeros at first */
    float *losses;               /* written */
    unsigned *barrier;           /* 2: blocks that have arrived, generation; zeros at first */
} Buffers;

DEVICE void zero(float *values, int count)
{
    UNROLL for (int i = 0; i < count; i++)
        values[i] = 0.0f;
}

/* A thread's weights, from `packed`: all threads of the layer read side by side. All of `registers` are
 * set: one that keeps its value on some path would be in use from one step of a block to the next. */
DEVICE void load_weights(float *weights, int registers, int count, const float *packed, int thread,
                         int threads)
{
    UNROLL for (int i = 0; i < ROUND4(count) / 4; i++) {
        float4 four = ((const float4 *)packed)[i * threads + thread];
        weights[4 * i] = four.x;
        weights[4 * i + 1] = four.y;
        weights[4 * i + 2] = four.z;
        weights[4 * i + 3] = four.w;
    }
    UNROLL for (int i = ROUND4(count); i < registers; i++)
        weights[i] = 0.0f;
}

/* Float4 number `i` of a lane. The last ones of a row may have no weights: zero times the row's end. */
DEVICE void read_row(float *values, const float *row, int length, int i, int lane, int lanes)
{
    int index = lane + lanes * i;
    if ((i + 1) * lanes > length / 4 && index >= length / 4)
        index = length / 4 - 1;
    float4 four = ((const float4 *)row)[index];
    values[0] = four.x;
    values[1] = four.y;
    values[2] = four.z;
    values[3] = four.w;
}

/* Adds a lane's part of three gates' products with a row; each of the four floats of a float4 has a sum
 * of its own. */
DEVICE void multiply_gates(float *r, float *z, float *n, const float *weights, const float *row, int length,
                           int lane, int lanes)
{
    UNROLL for (int i = 0; i < PER_LANE(length, lanes); i++) {
        float x[4];
        read_row(x, row, length, i, lane, lanes);
        UNROLL for (int c = 0; c < 4; c++) {
            const float *w = weights + 3 * (i * UNITS + c / SERIES);
            r[c] = fmaf(w[0], x[c], r[c]);
            z[c] = fmaf(w[1], x[c], z[c]);
            n[c] = fmaf(w[2], x[c], n[c]);
        }
    }
}

/* Adds a lane's part of a unit's product with a row. */
DEVICE void multiply(float *sums, const float *weights, const float *row, int length, int lane, int lanes)
{
    UNROLL for (int i = 0; i < PER_LANE(length, lanes); i++) {
        float x[4];
        read_row(x, row, length, i, lane, lanes);
        UNROLL for (int c = 0; c < 4; c++)
            sums[c] = fmaf(weights[i * UNITS + c / SERIES], x[c], sums[c]);
    }
}

/* Adds up the lanes of a unit. Each pair of lanes halves the series between them, as long as there are
 * several; then both of them have the sum. What a lane owns comes to stand in front. */
DEVICE void add_lanes(float *sums, int lane, int lanes)
{
    if (SERIES == 1)
        sums[0] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    if (SERIES == 2) {
        sums[0] += sums[2];
        sums[1] += sums[3];
    }
    UNROLL for (int bit = 0; bit < 5; bit++) {
        if (1 << bit < lanes) {
            const int half = (SERIES >> bit) / 2;
            const int upper = lane >> bit & 1;
            if (half > 0) {
                UNROLL for (int s = 0; s < half; s++) {
                    float sent = upper ? sums[s] : sums[s + half];
                    float kept = upper ? sums[s + half] : sums[s];
                    sums[s] = kept + __shfl_xor_sync(ALL_LANES, sent, 1 << bit);
                }
            } else {
                sums[0] += __shfl_xor_sync(ALL_LANES, sums[0], 1 << bit);
            }
        }
    }
}

/* The first series that a lane owns. */
DEVICE int first_series(int lane, int lanes)
{
    int first = 0;
    if (SERIES > 1 && lanes > 1)
        first += (lane & 1) * (SERIES / 2);
    if (SERIES > 2 && lanes > 2)
        first += (lane >> 1 & 1) * (SERIES / 4);
    return first;
}

/* Where the states after step `row - 1` are for the products: all of them, or the last two. */
DEVICE float *hidden_row(float *shared, int l, int row)
{
#if KEEP_SHARED
    return shared + HIDDEN_AT(l) + row * ROW(HIDDEN(l));
#else
    return shared + HIDDEN_RING(l) + (row & 1) * ROW(HIDDEN(l));
#endif
}

/* Where the gradients of a step's gates are for the products: [n, r, z, u], a row each. */
DEVICE float *gates_row(float *shared, int l, int row)
{
#if KEEP_SHARED
    return shared + GATES_AT(l) + row * 4 * ROW(HIDDEN(l));
#else
    return shared + GATES_RING(l) + (row & 1) * 4 * ROW(HIDDEN(l));
#endif
}

/* Who a thread is in the passes of its layer. */
typedef struct {
    int index;   /* in the layer */
    int threads; /* of the layer, whole warps */
    int unit;    /* another thread's, where `writes` is false */
    int lane;    /* of the unit */
    int writes;  /* whether what it owns is its own alone */
} Place;

#define THREADS_OF(l, lanes) ((HIDDEN(l) * (lanes) + 31) / 32 * 32)

DEVICE Place place_of(int thread, int l, int start, int lanes)
{
    Place place;
    place.index = thread - start;
    place.threads = THREADS_OF(l, lanes);
    place.unit = place.index / lanes;
    place.lane = place.index % lanes;
    place.writes = place.unit < HIDDEN(l) && place.lane < SERIES;
    if (place.unit >= HIDDEN(l))
        place.unit = HIDDEN(l) - 1;
    return place;
}

/* What a thread keeps in registers over the forward steps of one side. */
typedef struct {
    float weights[FORWARD_REGISTERS];
    float bias[4];               /* of r, z, n, u */
    float projected[3 * SERIES]; /* the product with a constant input, of r, z, n */
} Forward;

/* Loads a thread's weights, after the product with the constant input. */
DEVICE void forward_prepare(Forward *own, int thread, int side, int l, Buffers buffers, float *shared)
{
    const int lanes = FORWARD_LANES(l), h = HIDDEN(l);
    const Place place = place_of(thread, l, FORWARD_START(l), lanes);
    const float *bias_ih = buffers.weights + BIAS_IH(side, l) + place.unit;
    const float *bias_hh = buffers.weights + BIAS_HH(side, l) + place.unit;
    own->bias[0] = bias_ih[0] + bias_hh[0];
    own->bias[1] = bias_ih[h] + bias_hh[h];
    own->bias[2] = bias_ih[2 * h];
    own->bias[3] = bias_hh[2 * h];
    if (side == DECODER && l == 0 && REPEAT_LAST) {
        const int length = ROW(HIDDEN(TOP));
        float sums[3][4];
        zero(sums[0], 12);
        load_weights(own->weights, FORWARD_REGISTERS, FORWARD_INPUT(side, 0),
                     buffers.packed + PROJECTION_PACK, place.index, place.threads);
        multiply_gates(sums[0], sums[1], sums[2], own->weights, hidden_row(shared, TOP, PAST), length,
                       place.lane, lanes);
        UNROLL for (int gate = 0; gate < 3; gate++) {
            add_lanes(sums[gate], place.lane, lanes);
            UNROLL for (int s = 0; s < OWN(lanes); s++)
                own->projected[gate * SERIES + s] = sums[gate][s];
        }
    }
    const int input = HAS_INPUT(side, l) ? FORWARD_INPUT(side, l) : 0;
    load_weights(own->weights, FORWARD_REGISTERS, input + FORWARD_HIDDEN(l),
                 buffers.packed + FORWARD_PACK(side, l), place.index, place.threads);
}

/* One step of one layer: products, gates, the new state. */
DEVICE void forward_step(const Forward *own, int thread, int side, int l, int t, float *shared, float *keep)
{
    const int lanes = FORWARD_LANES(l), row_length = ROW(HIDDEN(l));
    const int row = side == ENCODER ? t : PAST + t;
    const Place place = place_of(thread, l, FORWARD_START(l), lanes);
    const float *before = hidden_row(shared, l, row);
    const int first = place.unit * SERIES + first_series(place.lane, lanes);
    float r[4], z[4], n[4], u[4];
    zero(r, 4);
    zero(z, 4);
    zero(n, 4);
    zero(u, 4);
    if (HAS_INPUT(side, l)) {
        const float *x = l > 0 ? hidden_row(shared, l - 1, row + 1) : shared + PAST_AT + t * ROW(FEATURES);
        multiply_gates(r, z, n, own->weights, x, ROW(INPUTS(side, l)), place.lane, lanes);
    }
    const int input = HAS_INPUT(side, l) ? FORWARD_INPUT(side, l) : 0;
    multiply_gates(r, z, u, own->weights + input, before, row_length, place.lane, lanes);
    add_lanes(r, place.lane, lanes);
    add_lanes(z, place.lane, lanes);
    add_lanes(n, place.lane, lanes);
    add_lanes(u, place.lane, lanes);
    float *gates = keep + GATES_AT(l) + row * 4 * row_length;
    UNROLL for (int s = 0; s < OWN(lanes); s++) {
        float start[3] = {own->bias[0], own->bias[1], own->bias[2]};
        if (side == DECODER && l == 0 && REPEAT_LAST) {
            UNROLL for (int gate = 0; gate < 3; gate++)
                start[gate] += own->projected[gate * SERIES + s];
        }
        float h = before[first + s];
        float rs = sigmoid(r[s] + start[0]);
        float zs = sigmoid(z[s] + start[1]);
        float us = u[s] + own->bias[3];
        float ns = tanh_of(fmaf(rs, us, n[s] + start[2]));
        h = fmaf(zs, h - ns, ns);
        if (place.writes) {
            gates[first + s] = ns;
            gates[row_length + first + s] = rs;
            gates[2 * row_length + first + s] = zs;
            gates[3 * row_length + first + s] = us;
            hidden_row(shared, l, row + 1)[first + s] = h;
            if (!KEEP_SHARED)
                keep[HIDDEN_AT(l) + (row + 1) * row_length + first + s] = h;
        }
    }
}

/* Calls `call(l)` in the threads of each layer. */
#define IN_LAYER(l, start, lanes)                                                                      \
    (thread >= start(l) && thread < start(l) + THREADS_OF(l, lanes(l)))

/* All steps of one side, as a wavefront: a layer is a step behind the one below it, so that they work
 * at the same time, and one barrier a step is enough. */
DEVICE void forward(int side, Buffers buffers, float *shared, float *keep)
{
    const int thread = this_thread();
    Forward own;
    zero(own.projected, 3 * SERIES);
#define PREPARE(l)                                                                                     \
    if (IN_LAYER(l, FORWARD_START, FORWARD_LANES))                                                     \
        forward_prepare(&own, thread, side, l, buffers, shared);                                               \
    else
    FOR_EACH_LAYER(PREPARE)
    {
        zero(own.weights, FORWARD_REGISTERS);
        zero(own.bias, 4);
    }
#undef PREPARE
    for (int phase = 0; phase < STEPS(side) + LAYERS - 1; phase++) {
#define STEP(l)                                                                                        \
    if (IN_LAYER(l, FORWARD_START, FORWARD_LANES) && phase >= (l) && phase - (l) < STEPS(side))        \
        forward_step(&own, thread, side, l, phase - (l), shared, keep);
        FOR_EACH_LAYER(STEP)
#undef STEP
        __syncthreads();
    }
}

/* The outputs of all steps and their gradients, a warp a step; returns the squared errors that the thread
 * has seen. */
DEVICE float errors(Buffers buffers, Step step, int present, float *shared, const float *keep)
{
    const int thread = this_thread(), lane = thread % 32;
    float squares = 0.0f;
    for (int t = thread / 32; t < FUTURE; t += THREADS / 32) {
        const float *h = keep + HIDDEN_AT(TOP) + (PAST + 1 + t) * ROW(HIDDEN(TOP));
        for (int o = 0; o < OUTPUTS; o++) {
            const float *weight = buffers.weights + DENSE_AT + o * ROUND4(HIDDEN(TOP));
            float sums[SERIES];
            zero(sums, SERIES);
            UNROLL_BY_4 for (int k = lane; k < HIDDEN(TOP); k += 32) {
                UNROLL for (int s = 0; s < SERIES; s++)
                    sums[s] = fmaf(weight[k], h[k * SERIES + s], sums[s]);
            }
            UNROLL for (int s = 0; s < SERIES; s++) {
                UNROLL for (int bit = 0; bit < 5; bit++)
                    sums[s] += __shfl_xor_sync(ALL_LANES, sums[s], 1 << bit);
            }
            const float bias = buffers.weights[DENSE_BIAS + o];
            float *error = shared + ERROR_AT + t * ROW(OUTPUTS) + o * SERIES;
            UNROLL for (int s = 0; s < SERIES; s++) {
                if (lane == 0) {
                    float difference = s < present ? sums[s] + bias - error[s] : 0.0f;
                    squares = fmaf(difference, difference, squares);
                    error[s] = 2.0f * step.factor * difference;
                }
            }
        }
    }
    return squares;
}

/* What a thread keeps in registers over the backward steps. */
typedef struct {
    float weights[BACKWARD_REGISTERS];
    float summed[3 * SERIES]; /* of the decoder's first layer: n, r, z */
} Backward;

/* One step of one layer: the products with what the next step has left, then the gates' gradients.
 * `through` is what has come back to the state that the step started from, but for the products. */
DEVICE void backward_step(Backward *own, float *through, int thread, int side, int l, int t, float *shared,
                          float *keep)
{
    const int lanes = BACKWARD_LANES(l), length = ROW(HIDDEN(l));
    const int row = side == ENCODER ? t : PAST + t;
    const Place place = place_of(thread, l, BACKWARD_START(l), lanes);
    const int first = place.unit * SERIES + first_series(place.lane, lanes);
    float sums[4];
    zero(sums, 4);
    if (t < STEPS(side) - 1)
        multiply(sums, own->weights, gates_row(shared, l, row + 1) + length, 3 * length, place.lane, lanes);
    if (ABOVE(side, l) > 0 && t >= 0) {
        const float *above = l < TOP ? gates_row(shared, l < TOP ? l + 1 : l, row)
                                     : shared + ERROR_AT + t * ROW(OUTPUTS);
        multiply(sums, own->weights + BACKWARD_HIDDEN(l), above, ABOVE(side, l), place.lane, lanes);
    }
    add_lanes(sums, place.lane, lanes);
    UNROLL for (int s = 0; s < OWN(lanes); s++)
        through[s] += sums[s];
    if (t < 0)
        return;
    float *gates = keep + GATES_AT(l) + row * 4 * length;
    const float *before = keep + HIDDEN_AT(l) + row * length;
    UNROLL for (int s = 0; s < OWN(lanes); s++) {
        const int i = first + s;
        /* Of the lanes that own the same, the others have nothing to do. */
        if (place.writes) {
            float n = gates[i], r = gates[length + i], z = gates[2 * length + i], u = gates[3 * length + i];
            float g = through[s], gz = g * z;
            float dn = (g - gz) * fmaf(-n, n, 1.0f);
            float dz = gz * (1.0f - z) * (before[i] - n);
            float du = dn * r;
            float dr = du * u * (1.0f - r);
            through[s] = gz;
            if (side == DECODER && l == 0 && REPEAT_LAST) {
                own->summed[s] += dn;
                own->summed[SERIES + s] += dr;
                own->summed[2 * SERIES + s] += dz;
            }
            gates[i] = dn;
            gates[length + i] = dr;
            gates[2 * length + i] = dz;
            gates[3 * length + i] = du;
            if (!KEEP_SHARED) {
                float *ring = gates_row(shared, l, row);
                ring[i] = dn;
                ring[length + i] = dr;
                ring[2 * length + i] = dz;
                ring[3 * length + i] = du;
            }
        }
    }
}

/* As `forward`, from the last step to the first and from the top layer down. A thread does two things
 * between two barriers: the products with the gates of the step after, and the gates of this step. The
 * decoder has one more step, the products alone: the gradient of the encoder's last state. */
DEVICE void backward(Backward *own, float *through, int side, Buffers buffers, float *shared, float *keep)
{
    const int thread = this_thread(), last = side == DECODER ? -1 : 0;
#define PREPARE(l)                                                                                     \
    if (IN_LAYER(l, BACKWARD_START, BACKWARD_LANES)) {                                                 \
        const Place place = place_of(thread, l, BACKWARD_START(l), BACKWARD_LANES(l));                         \
        if (side == ENCODER && (l) == TOP && REPEAT_LAST) {                                            \
            float sums[4];                                                                             \
            zero(sums, 4);                                                                             \
            load_weights(own->weights, BACKWARD_REGISTERS, BACKWARD_CONTEXT,                           \
                         buffers.packed + CONTEXT_PACK, place.index, place.threads);                   \
            multiply(sums, own->weights, shared + SUMMED_AT, 3 * ROW(HIDDEN(0)), place.lane,           \
                     BACKWARD_LANES(l));                                                               \
            add_lanes(sums, place.lane, BACKWARD_LANES(l));                                            \
            UNROLL for (int s = 0; s < OWN(BACKWARD_LANES(l)); s++)                                    \
                through[s] += sums[s];                                                                 \
        }                                                                                              \
        load_weights(own->weights, BACKWARD_REGISTERS, BACKWARD_HIDDEN(l) + BACKWARD_ABOVE(side, l),   \
                     buffers.packed + BACKWARD_PACK(side, l), place.index, place.threads);             \
    } else
    FOR_EACH_LAYER(PREPARE)
    zero(own->weights, BACKWARD_REGISTERS);
#undef PREPARE
    for (int phase = 0; phase < STEPS(side) - last + LAYERS - 1; phase++) {
#define STEP(l)                                                                                        \
    if (IN_LAYER(l, BACKWARD_START, BACKWARD_LANES) && phase >= TOP - (l)                              \
        && STEPS(side) - 1 - (phase - (TOP - (l))) >= last)                                            \
        backward_step(own, through, thread, side, l, STEPS(side) - 1 - (phase - (TOP - (l))), shared, keep);
        FOR_EACH_LAYER(STEP)
#undef STEP
        __syncthreads();
    }
}

/* The sums over time of the gates' gradients that meet the constant input. */
DEVICE void write_summed(const Backward *own, float *shared)
{
    const int lanes = BACKWARD_LANES(0), length = ROW(HIDDEN(0)), thread = this_thread();
    if (REPEAT_LAST && IN_LAYER(0, BACKWARD_START, BACKWARD_LANES)) {
        const Place place = place_of(thread, 0, BACKWARD_START(0), lanes);
        const int first = place.unit * SERIES + first_series(place.lane, lanes);
        UNROLL for (int gate = 0; gate < 3; gate++) {
            UNROLL for (int s = 0; s < OWN(lanes); s++) {
                if (place.writes)
                    shared[SUMMED_AT + gate * length + first + s] = own->summed[gate * SERIES + s];
            }
        }
    }
}

/* The gradient of a matrix (3·units, inputs) of one layer: the sum over steps and series of the gates'
 * gradients times what the matrix met, in tiles of 4 x 4. A tile is SERIES float4s high and as wide,
 * apart by the number of tiles, so that neighbouring threads read neighbouring float4s. The matrix's work
 * starts with warp `first_warp`, where that of the one before has ended. */
DEVICE void outer(const float *gates, int gates_length, int last_gate, int units, const float *inputs,
                  int inputs_length, int num_inputs, int steps, float *to, int add, int first_warp)
{
    const int left4 = ROW(units) / 4, right4 = ROW(num_inputs) / 4;
    const int high = (left4 + SERIES - 1) / SERIES, wide = (right4 + SERIES - 1) / SERIES;
    const int stride = ROUND4(num_inputs);
    int item = this_thread() - first_warp % (THREADS / 32) * 32;
    for (item += item < 0 ? THREADS : 0; item < 3 * high * wide; item += THREADS) {
        const int gate = item / (high * wide);
        const int across = item % wide, down = item / wide % high;
        /* Rows of the weights are r, z, n; rows of the gates are n, r, z, u. */
        const int group = gate == 2 ? last_gate : gate + 1;
        const float4 *left = (const float4 *)(gates + group * ROW(units));
        const float4 *right = (const float4 *)inputs;
        int at_left[SERIES], at_right[SERIES];
        UNROLL for (int i = 0; i < SERIES; i++) {
            at_left[i] = down + high * i < left4 ? down + high * i : left4 - 1;
            at_right[i] = across + wide * i < right4 ? across + wide * i : right4 - 1;
        }
        float sums[4][4];
        zero(sums[0], 16);
        UNROLL_BY_4 for (int t = 0; t < steps; t++) {
            float a[4 * SERIES], b[4 * SERIES];
            UNROLL for (int i = 0; i < SERIES; i++) {
                float4 four = left[t * (gates_length / 4) + at_left[i]];
                a[4 * i] = four.x;
                a[4 * i + 1] = four.y;
                a[4 * i + 2] = four.z;
                a[4 * i + 3] = four.w;
                four = right[t * (inputs_length / 4) + at_right[i]];
                b[4 * i] = four.x;
                b[4 * i + 1] = four.y;
                b[4 * i + 2] = four.z;
                b[4 * i + 3] = four.w;
            }
            UNROLL for (int i = 0; i < 4; i++) {
                UNROLL for (int j = 0; j < 4; j++) {
                    UNROLL for (int s = 0; s < SERIES; s++)
                        sums[i][j] = fmaf(a[i * SERIES + s], b[j * SERIES + s], sums[i][j]);
                }
            }
        }
        UNROLL for (int i = 0; i < 4; i++) {
            const int unit = UNITS * (down + high * (i / UNITS)) + i % UNITS;
            UNROLL for (int j = 0; j < 4; j += UNITS) {
                const int column = UNITS * (across + wide * (j / UNITS));
                float *target = to + (gate * units + unit) * stride + column;
                if (unit < units && column < num_inputs) {
#if SERIES == 1
                    float4 four = {sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]};
                    if (add) {
                        four.x += target[0];
                        four.y += target[1];
                        four.z += target[2];
                        four.w += target[3];
                    }
                    *(float4 *)target = four;
#elif SERIES == 2
                    float2 two = {sums[i][j], sums[i][j + 1]};
                    if (add) {
                        two.x += target[0];
                        two.y += target[1];
                    }
                    *(float2 *)target = two;
#else
                    *target = sums[i][j] + (add ? *target : 0.0f);
#endif
                }
            }
        }
    }
}

#define OUTER_WARPS(units, inputs)                                                                     \
    ((3 * ((ROW(units) / 4 + SERIES - 1) / SERIES) * ((ROW(inputs) / 4 + SERIES - 1) / SERIES) + 31) / 32)

/* The gradients of a layer's weights, added to `to` if there is something. */
DEVICE int layer_gradient(int side, int l, const float *shared, const float *keep, float *to, int add, int warp)
{
    const int length = ROW(HIDDEN(l)), start = side == ENCODER ? 0 : PAST;
    const float *gates = keep + GATES_AT(l) + start * 4 * length;
    const float *hidden = keep + HIDDEN_AT(l) + start * length;
    outer(gates, 4 * length, 3, HIDDEN(l), hidden, length, HIDDEN(l), STEPS(side), to + WEIGHT_HH(side, l),
          add, warp);
    warp += OUTER_WARPS(HIDDEN(l), HIDDEN(l));
    if (HAS_INPUT(side, l)) {
        const int below = ROW(INPUTS(side, l));
        const float *inputs =
            l > 0 ? keep + HIDDEN_AT(l > 0 ? l - 1 : 0) + (start + 1) * below : shared + PAST_AT;
        outer(gates, 4 * length, 0, HIDDEN(l), inputs, below, INPUTS(side, l), STEPS(side),
              to + WEIGHT_IH(side, l), add, warp);
        warp += OUTER_WARPS(HIDDEN(l), INPUTS(side, l));
    } else if (REPEAT_LAST) {
        const float *context = keep + HIDDEN_AT(TOP) + PAST * ROW(HIDDEN(TOP));
        outer(shared + SUMMED_AT, 0, 0, HIDDEN(l), context, 0, HIDDEN(TOP), 1, to + WEIGHT_IH(side, l), add,
              warp);
        warp += OUTER_WARPS(HIDDEN(l), HIDDEN(TOP));
    }
    int item = this_thread() - warp % (THREADS / 32) * 32;
    for (item += item < 0 ? THREADS : 0; item < 4 * HIDDEN(l); item += THREADS) {
        const int group = item / HIDDEN(l), unit = item % HIDDEN(l);
        float sum = 0.0f;
        UNROLL_BY_4 for (int t = 0; t < STEPS(side); t++) {
            UNROLL for (int s = 0; s < SERIES; s++)
                sum += gates[(t * 4 + group) * length + unit * SERIES + s];
        }
        /* n and u have a bias each, r and z two with the same gradient. */
        float *bias_ih = to + BIAS_IH(side, l) + unit, *bias_hh = to + BIAS_HH(side, l) + unit;
        const int gate = group == 0 || group == 3 ? 2 : group - 1;
        if (group != 3)
            bias_ih[gate * HIDDEN(l)] = sum + (add ? bias_ih[gate * HIDDEN(l)] : 0.0f);
        if (group != 0)
            bias_hh[gate * HIDDEN(l)] = sum + (add ? bias_hh[gate * HIDDEN(l)] : 0.0f);
    }
    return warp + (4 * HIDDEN(l) + 31) / 32;
}

/* The gradients of the head's weights. */
DEVICE void dense_gradient(const float *shared, const float *keep, float *to, int add, int warp)
{
    const int units = HIDDEN(TOP), length = ROW(HIDDEN(TOP));
    const float *hidden = keep + HIDDEN_AT(TOP) + (PAST + 1) * length;
    int item = this_thread() - warp % (THREADS / 32) * 32;
    /* The bias as the weight of a unit more, which is always one. */
    for (item += item < 0 ? THREADS : 0; item < OUTPUTS * (units + 1); item += THREADS) {
        const int output = item / (units + 1), unit = item % (units + 1);
        float sum = 0.0f;
        UNROLL_BY_4 for (int t = 0; t < FUTURE; t++) {
            UNROLL for (int s = 0; s < SERIES; s++) {
                float error = shared[ERROR_AT + t * ROW(OUTPUTS) + output * SERIES + s];
                sum = fmaf(error, unit < units ? hidden[t * length + unit * SERIES + s] : 1.0f, sum);
            }
        }
        float *target =
            to + (unit < units ? DENSE_AT + output * ROUND4(units) + unit : DENSE_BIAS + output);
        *target = sum + (add ? *target : 0.0f);
    }
}

/* A part of a few series as rows of its steps; zeros for series that are not. */
DEVICE void gather_rows(const float *part, int steps, int features, const int *order, int present,
                        float *rows)
{
    const int length = steps * features;
    for (int i = this_thread(); i < length * SERIES; i += THREADS) {
        const int s = i / length, k = i % length;
        float value = 0.0f;
        if (s < present)
            value = part[(long long)order[s] * length + k];
        rows[k / features * ROW(features) + k % features * SERIES + s] = value;
    }
}

/* The pasts of a few series, and their futures where the errors will be. */
DEVICE void gather(Buffers buffers, const int *order, int present, float *shared)
{
    gather_rows(buffers.past, PAST, FEATURES, order, present, shared + PAST_AT);
    gather_rows(buffers.future, FUTURE, OUTPUTS, order, present, shared + ERROR_AT);
}

/* Waits for all blocks: all are on the GPU at once, and what each has written before, all see after. The
 * last one to arrive starts a new generation, so that nothing has to be reset. */
DEVICE void wait_for_blocks(unsigned *barrier)
{
    __syncthreads();
    if (this_thread() == 0) {
        const unsigned generation = *(volatile unsigned *)(barrier + 1);
        __threadfence();
        if (atomicAdd(barrier, 1u) == gridDim.x - 1) {
            *(volatile unsigned *)barrier = 0;
            __threadfence();
            atomicAdd(barrier + 1, 1u);
        } else {
            while (*(volatile unsigned *)(barrier + 1) == generation)
                WAIT();
        }
        __threadfence();
    }
    __syncthreads();
}

/* The sum over the block's threads, in every thread; always added in the same order. */
DEVICE double sum_over_threads(double value, float *shared)
{
    double *values = (double *)shared;
    const int thread = this_thread();
    __syncthreads();
    values[thread] = value;
    __syncthreads();
    if (thread < 32) {
        double sum = 0.0;
        for (int i = thread; i < THREADS; i += 32)
            sum += values[i];
        values[thread] = sum;
    }
    __syncthreads();
    double total = 0.0;
    for (int i = 0; i < 32; i++)
        total += values[i];
    __syncthreads();
    return total;
}

/* New weights from the summed gradient of a float4 of them, and their copies for the threads. */
DEVICE void update_four(Buffers buffers, Step step, int item, float4 gradient, float scale)
{
    float4 w4 = ((float4 *)buffers.weights)[item];
    float4 m4 = ((float4 *)buffers.momentum)[item], v4 = ((float4 *)buffers.square)[item];
    const float g[4] = {gradient.x, gradient.y, gradient.z, gradient.w};
    float w[4] = {w4.x, w4.y, w4.z, w4.w};
    float m[4] = {m4.x, m4.y, m4.z, m4.w}, v[4] = {v4.x, v4.y, v4.z, v4.w};
    UNROLL for (int i = 0; i < 4; i++) {
        const int forward_place = buffers.forward_place[4 * item + i];
        const int backward_place = buffers.backward_place[4 * item + i];
        w[i] = update(step, m + i, v + i, w[i], scale * g[i]);
        if (forward_place >= 0)
            buffers.packed[forward_place] = w[i];
        if (backward_place >= 0)
            buffers.packed[backward_place] = w[i];
    }
    w4.x = w[0], w4.y = w[1], w4.z = w[2], w4.w = w[3];
    m4.x = m[0], m4.y = m[1], m4.z = m[2], m4.w = m[3];
    v4.x = v[0], v4.y = v[1], v4.z = v[2], v4.w = v[3];
    ((float4 *)buffers.weights)[item] = w4;
    ((float4 *)buffers.momentum)[item] = m4;
    ((float4 *)buffers.square)[item] = v4;
}

/* Each block sums the gradients of the blocks for its own weights, and updates them. */
DEVICE void sum_and_update(Buffers buffers, Step step, int blocks, float *shared)
{
    const int thread = this_thread(), items = ELEMENTS / 4;
    const int chunk = (items + (int)gridDim.x - 1) / (int)gridDim.x;
    const int begin = (int)blockIdx.x * chunk, end = begin + chunk < items ? begin + chunk : items;
    const int width = THREADS / step.parts, slot = thread % width, part = thread / width;
    const int from = blocks * part / step.parts, until = blocks * (part + 1) / step.parts;
    double squares = 0.0;
    for (int base = begin; base < end; base += width) {
        const int item = base + slot;
        float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
        if (item < end) {
            const float4 *partial = (const float4 *)buffers.partial + item;
#ifdef __CUDACC__
#pragma unroll 16
#endif
            for (int block = from; block < until; block++) {
                float4 four = READ_SHARED_BY_BLOCKS(partial + (long long)block * items);
                sum.x += four.x;
                sum.y += four.y;
                sum.z += four.z;
                sum.w += four.w;
            }
        }
        if (step.parts > 1) {
            float4 *sums = (float4 *)shared;
            sums[thread] = sum;
            __syncthreads();
            for (int other = 1; part == 0 && other < step.parts; other++) {
                float4 four = sums[other * width + slot];
                sum.x += four.x;
                sum.y += four.y;
                sum.z += four.z;
                sum.w += four.w;
            }
            __syncthreads();
        }
        if (part == 0 && item < end) {
            ((float4 *)buffers.gradient)[item] = sum;
            squares += (double)sum.x * sum.x + (double)sum.y * sum.y;
            squares += (double)sum.z * sum.z + (double)sum.w * sum.w;
            if (step.clip_norm == 0.0)
                update_four(buffers, step, item, sum, 1.0f);
        }
    }
    if (step.clip_norm == 0.0)
        return;
    squares = sum_over_threads(squares, shared);
    if (thread == 0)
        buffers.lengths[blockIdx.x] = squares;
    wait_for_blocks(buffers.barrier);
    squares = 0.0;
    for (int block = thread; block < (int)gridDim.x; block += THREADS)
        squares += READ_SHARED_BY_BLOCKS(buffers.lengths + block);
    const double scale = step.clip_norm / (sqrt(sum_over_threads(squares, shared)) + 1e-6);
    for (int item = begin + slot; part == 0 && item < end; item += width)
        update_four(buffers, step, item, ((float4 *)buffers.gradient)[item],
                    scale < 1.0 ? (float)scale : 1.0f);
}

KERNEL train_step(Buffers buffers, Step step)
{
    DYNAMIC_SHARED(shared);
    const int thread = this_thread();
    const int groups = (step.count + SERIES - 1) / SERIES;
    const int blocks = groups < (int)gridDim.x ? groups : (int)gridDim.x;
    float *keep = KEEP_SHARED ? shared : buffers.scratch + (long long)blockIdx.x * KEPT;
    float *to = buffers.partial + (long long)blockIdx.x * ELEMENTS;
    float squares = 0.0f;
    /* The first states, and what is read beside the rows that are written. */
    for (int i = thread; i < SHARED / 4; i += THREADS) {
        const float4 zeros = {0.0f, 0.0f, 0.0f, 0.0f};
        ((float4 *)shared)[i] = zeros;
    }
    __syncthreads();
    for (int group = blockIdx.x; group < groups; group += gridDim.x) {
        const int add = group != (int)blockIdx.x;
        const int left = step.count - group * SERIES, present = left < SERIES ? left : SERIES;
        gather(buffers, buffers.order + step.first + group * SERIES, present, shared);
        if (!KEEP_SHARED && add) {
#define RESTART(l)                                                                                     \
    for (int i = this_thread(); i < ROW(HIDDEN(l)); i += THREADS)                                             \
        hidden_row(shared, l, 0)[i] = 0.0f;
            FOR_EACH_LAYER(RESTART)
#undef RESTART
        }
        __syncthreads();
        forward(ENCODER, buffers, shared, keep);
        forward(DECODER, buffers, shared, keep);
        squares += errors(buffers, step, present, shared, keep);
        __syncthreads();

        Backward own;
        float through[SERIES];
        zero(own.summed, 3 * SERIES);
        zero(through, SERIES);
        backward(&own, through, DECODER, buffers, shared, keep);
        write_summed(&own, shared);
        __syncthreads();
        backward(&own, through, ENCODER, buffers, shared, keep);

        int warp = 0;
#define GRADIENT(l)                                                                                    \
    warp = layer_gradient(ENCODER, l, shared, keep, to, add, warp);                                    \
    warp = layer_gradient(DECODER, l, shared, keep, to, add, warp);
        FOR_EACH_LAYER(GRADIENT)
#undef GRADIENT
        dense_gradient(shared, keep, to, add, warp);
        __syncthreads();
    }

    double total = sum_over_threads(squares, shared);
    if (thread == 0)
        buffers.squares[blockIdx.x] = (float)total;
    wait_for_blocks(buffers.barrier);
    if (blockIdx.x == gridDim.x - 1) {
        total = 0.0;
        for (int block = thread; block < blocks; block += THREADS)
            total += READ_SHARED_BY_BLOCKS(buffers.squares + block);
        total = sum_over_threads(total, shared);
        if (thread == 0)
            buffers.losses[step.loss] = (float)(step.factor * total);
    }
    sum_and_update(buffers, step, blocks, shared);
}
