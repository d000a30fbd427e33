# mypy: ignore-errors
# ruff: noqa: RET505, RUF005
# Triton's language looks like Python, but has types of its own and no unpacking inside a tuple. It compiles the code
# behind a return, too, unless it is in an `else` that a constant rules out.
"""Triton kernels of the selective scan; `_triton` launches them and explains the scheme.

One program, always one warp, handles BLOCK_CHANNELS channels of one group of one sample and processes one span of the
path. Lanes run along the channels, which are adjacent in memory. Each lane holds BLOCK_LENGTH tokens in registers, as
tuples with one row of channels per token, and steps through them for one state after the other. The recurrence
therefore needs no communication between lanes, a step costs one multiply-add, and only the sums over channels (gB, gC)
use shuffles. A parallel prefix sum (`tl.associative_scan`) over lanes takes about twice as many instructions.

The sums of a block, gB and gC of each token, are added up together. In each step a lane passes one half of its rows to
its partner and keeps the other, so that each row ends in lanes of its own. For 8 rows that takes 9 shuffles; one row
after the other takes 40.

Between blocks, a program keeps its N states in a part of global memory that it alone uses. Barriers make these writes
visible to every lane, although a lane usually reads only what it stored.

Tensors with tokens come with four strides: (sample, token, group, channel). States have shape (B, K, ..., N, D) with D
innermost, so that lanes read adjacent elements. BC (B, L, K, 2N) holds B and C of a token next to each other, and so
does its gradient. A has shape (K, N, D) and is multiplied by log2(e), for exp2.
"""

import triton
import triton.language as tl

# Arguments whose values are not worth a separate compilation.
_SIZES = ["K", "length", "width", "column_groups", "backward_groups", "span_length", "num_spans"]

_LANES = tl.constexpr(32)


@triton.jit
def _softplus(x):
    """Compute log(1 + exp(x)) without overflow; tiny results are exact to rounding too."""
    e = tl.exp2(tl.abs(x) * -1.4426950408889634)
    # log(1 + e) = 2 artanh(s), s <= 1/3: six terms of the series are exact to float32.
    s = e / (2.0 + e)
    q = s * s
    series = 1.0 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13))))))
    return tl.maximum(x, 0.0) + 2.0 * s * series


@triton.jit
def _sigmoid(x):
    e = tl.exp2(tl.abs(x) * -1.4426950408889634)
    return tl.where(x < 0, e, 1.0) / (1.0 + e)


@triton.jit
def _pixels(first, path, BLOCK_LENGTH: tl.constexpr):
    """Return the memory positions of a block's tokens; tokens past the end get that of the last token."""
    length, width, by_column, backwards = path
    height = length // width
    pixels = ()
    for i in tl.static_range(BLOCK_LENGTH):
        t = tl.minimum(first + i, length - 1)
        t = tl.where(backwards, length - 1 - t, t)
        pixels = pixels + (tl.where(by_column, (t % height) * width + t // height, t).to(tl.int64),)
    return pixels


@triton.jit
def _steps(delta_ptr, stride, bias, pixels, is_channel, BLOCK_LENGTH: tl.constexpr):
    """Compute dt of a block of tokens.

    Tokens past the end need no 0 here: no later state is used, and with gy = 0 their adjoints are 0.
    """
    dt = ()
    for i in tl.static_range(BLOCK_LENGTH):
        x = tl.load(delta_ptr + pixels[i] * stride, mask=is_channel, other=0.0).to(tl.float32) + bias
        dt = dt + (_softplus(x),)
    return dt


@triton.jit
def _rows(ptr, stride, pixels, num_tokens, is_channel, BLOCK_LENGTH: tl.constexpr):
    """Load the channels of a block of tokens; 0 past the end."""
    rows = ()
    for i in tl.static_range(BLOCK_LENGTH):
        rows = rows + (tl.load(ptr + pixels[i] * stride, mask=is_channel & (i < num_tokens), other=0.0).to(tl.float32),)
    return rows


@triton.jit
def _products(dt, u, BLOCK_LENGTH: tl.constexpr):
    products = ()
    for i in tl.static_range(BLOCK_LENGTH):
        products = products + (dt[i] * u[i],)
    return products


@triton.jit
def _at(ptr, stride, pixels, BLOCK_LENGTH: tl.constexpr):
    """Return pointers to the coefficients of a block of tokens."""
    ptrs = ()
    for i in tl.static_range(BLOCK_LENGTH):
        ptrs = ptrs + (ptr + pixels[i] * stride,)
    return ptrs


@triton.jit
def _by_lane(x, BLOCK_CHANNELS: tl.constexpr):
    """Add up the channels that each lane holds, whichever these are."""
    return tl.sum(tl.reshape(x, (_LANES, BLOCK_CHANNELS // _LANES), can_reorder=True), 1)


@triton.jit
def _sums(rows, lane, COUNT: tl.constexpr, BIT: tl.constexpr):
    """Add up COUNT rows over lanes whose numbers differ in the bits up to BIT.

    If BIT is the highest one, lane l gets the sum of row l * COUNT // lanes. COUNT is a power of two.
    """
    if BIT == 0:
        return rows[0]
    elif COUNT == 1:
        return _sums((rows[0] + tl.gather(rows[0], lane ^ BIT, 0),), lane, 1, BIT // 2)
    else:
        is_upper = (lane & BIT) != 0
        kept = ()
        for i in tl.static_range(COUNT // 2):
            upper = rows[i + COUNT // 2]
            passed = tl.gather(tl.where(is_upper, rows[i], upper), lane ^ BIT, 0)
            kept = kept + (tl.where(is_upper, upper, rows[i]) + passed,)
        return _sums(kept, lane, COUNT // 2, BIT // 2)


@triton.jit
def _advance(dt, drive, BC_ptrs, A_ptr, from_ptr, to_ptr, N, D, is_channel, BLOCK_LENGTH: tl.constexpr):
    """Advance the states at `from_ptr` over a block of tokens and store them at `to_ptr`."""
    for n in tl.range(N, loop_unroll_factor=4):
        A = tl.load(A_ptr + n * D, mask=is_channel, other=0.0)
        h = tl.load(from_ptr + n * D, mask=is_channel, other=0.0)
        for i in tl.static_range(BLOCK_LENGTH):
            h = tl.exp2(dt[i] * A) * h + drive[i] * tl.load(BC_ptrs[i] + n).to(tl.float32)
        tl.store(to_ptr + n * D, h, mask=is_channel)
    tl.debug_barrier()


@triton.jit(do_not_specialize=_SIZES)
def output_kernel(
    u_ptr,
    u_strides,
    delta_ptr,
    delta_strides,
    BC_ptr,
    A_ptr,
    D_ptr,
    bias_ptr,
    y_ptr,
    y_strides,
    carry_ptr,
    states_ptr,
    K,
    N,
    D,
    length,
    width,
    column_groups,
    backward_groups,
    span_length,
    SAVE_STATES: tl.constexpr,
    CHUNK_LENGTH: tl.constexpr,
    BLOCK_LENGTH: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Compute y from the state before each span in carry (B, K, spans, N, D), which is overwritten.

    Saves the state before every chunk in states (B, K, chunks, N, D).
    """
    channel = tl.program_id(0) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    is_channel = channel < D
    span = tl.program_id(1)
    group = tl.program_id(2).to(tl.int64)
    b, k = group // K, group % K
    path = (length, width, (column_groups >> k) & 1 != 0, (backward_groups >> k) & 1 != 0)

    u_ptr += b * u_strides[0] + k * u_strides[2] + channel * u_strides[3]
    delta_ptr += b * delta_strides[0] + k * delta_strides[2] + channel * delta_strides[3]
    BC_ptr += (b * length * K + k) * 2 * N
    y_ptr += b * y_strides[0] + k * y_strides[2] + channel * y_strides[3]
    A_ptr += k * N * D + channel
    carry_ptr += (group * tl.num_programs(1) + span) * N * D + channel
    states_ptr += group * tl.cdiv(length, CHUNK_LENGTH) * N * D + channel
    skip = tl.load(D_ptr + k * D + channel, mask=is_channel, other=0.0)
    bias = tl.load(bias_ptr + k * D + channel, mask=is_channel, other=0.0)

    for first in range(span * span_length, tl.minimum((span + 1) * span_length, length), BLOCK_LENGTH):
        pixels, num_tokens = _pixels(first, path, BLOCK_LENGTH), length - first
        dt = _steps(delta_ptr, delta_strides[1], bias, pixels, is_channel, BLOCK_LENGTH)
        u = _rows(u_ptr, u_strides[1], pixels, num_tokens, is_channel, BLOCK_LENGTH)
        BC_ptrs = _at(BC_ptr, K * 2 * N, pixels, BLOCK_LENGTH)
        drive = _products(dt, u, BLOCK_LENGTH)
        y = ()
        for i in tl.static_range(BLOCK_LENGTH):
            y = y + (skip * u[i],)

        for n in tl.range(N, loop_unroll_factor=4):
            A = tl.load(A_ptr + n * D, mask=is_channel, other=0.0)
            h = tl.load(carry_ptr + n * D, mask=is_channel, other=0.0)
            if SAVE_STATES:
                is_chunk = first % CHUNK_LENGTH == 0
                tl.store(states_ptr + (first // CHUNK_LENGTH * N + n) * D, h, mask=is_channel & is_chunk)
            sums = ()
            for i in tl.static_range(BLOCK_LENGTH):
                h = tl.exp2(dt[i] * A) * h + drive[i] * tl.load(BC_ptrs[i] + n).to(tl.float32)
                sums = sums + (y[i] + tl.load(BC_ptrs[i] + N + n).to(tl.float32) * h,)
            y = sums
            tl.store(carry_ptr + n * D, h, mask=is_channel)
        tl.debug_barrier()

        for i in tl.static_range(BLOCK_LENGTH):
            tl.store(y_ptr + pixels[i] * y_strides[1], y[i], mask=is_channel & (i < num_tokens))


@triton.jit(do_not_specialize=_SIZES)
def carry_kernel(
    x_ptr,
    x_strides,
    delta_ptr,
    delta_strides,
    BC_ptr,
    A_ptr,
    bias_ptr,
    carry_ptr,
    total_ptr,
    K,
    N,
    D,
    length,
    width,
    column_groups,
    backward_groups,
    span_length,
    ADJOINT: tl.constexpr,
    BLOCK_LENGTH: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Compute the state that each span passes on, starting from the zeros in carry (B, K, spans, N, D).

    Also writes total (B, K, spans, D), the sum of dt over each span.

    Forward: the last state, for x = u and weight = B. Adjoint: r of the first token, for x = gy and weight = C.
    """
    channel = tl.program_id(0) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    is_channel = channel < D
    span = tl.program_id(1)
    group = tl.program_id(2).to(tl.int64)
    b, k = group // K, group % K
    path = (length, width, (column_groups >> k) & 1 != 0, (backward_groups >> k) & 1 != 0)

    x_ptr += b * x_strides[0] + k * x_strides[2] + channel * x_strides[3]
    delta_ptr += b * delta_strides[0] + k * delta_strides[2] + channel * delta_strides[3]
    BC_ptr += (b * length * K + k) * 2 * N
    A_ptr += k * N * D + channel
    carry_ptr += (group * tl.num_programs(1) + span) * N * D + channel
    bias = tl.load(bias_ptr + k * D + channel, mask=is_channel, other=0.0)

    total = tl.zeros((BLOCK_CHANNELS,), tl.float32)
    num_blocks = tl.cdiv(tl.minimum(span_length, length - span * span_length), BLOCK_LENGTH)
    for block in range(num_blocks):
        first = span * span_length + (num_blocks - 1 - block if ADJOINT else block) * BLOCK_LENGTH
        pixels, num_tokens = _pixels(first, path, BLOCK_LENGTH), length - first
        dt = _steps(delta_ptr, delta_strides[1], bias, pixels, is_channel, BLOCK_LENGTH)
        x = _rows(x_ptr, x_strides[1], pixels, num_tokens, is_channel, BLOCK_LENGTH)
        BC_ptrs = _at(BC_ptr, K * 2 * N, pixels, BLOCK_LENGTH)
        if ADJOINT:
            for n in tl.range(N, loop_unroll_factor=4):
                A = tl.load(A_ptr + n * D, mask=is_channel, other=0.0)
                r = tl.load(carry_ptr + n * D, mask=is_channel, other=0.0)
                for i in tl.static_range(BLOCK_LENGTH - 1, -1, -1):
                    r = tl.exp2(dt[i] * A) * (r + x[i] * tl.load(BC_ptrs[i] + N + n).to(tl.float32))
                tl.store(carry_ptr + n * D, r, mask=is_channel)
            tl.debug_barrier()
        else:
            drive = _products(dt, x, BLOCK_LENGTH)
            _advance(dt, drive, BC_ptrs, A_ptr, carry_ptr, carry_ptr, N, D, is_channel, BLOCK_LENGTH)
        for i in tl.static_range(BLOCK_LENGTH):
            total += dt[i]
    tl.store(total_ptr + (group * tl.num_programs(1) + span) * D + channel, total, mask=is_channel)


@triton.jit(do_not_specialize=_SIZES)
def link_kernel(carry_ptr, total_ptr, A_ptr, K, N, D, num_spans, ADJOINT: tl.constexpr, BLOCK_CHANNELS: tl.constexpr):
    """Replace each span's own state in carry (B, K, spans, N, D) with the state that the span receives.

    A span multiplies what it receives by exp(A * sum of dt).
    """
    channel = tl.program_id(0) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    is_channel = channel < D
    n = tl.program_id(1)
    group = tl.program_id(2).to(tl.int64)
    A = tl.load(A_ptr + ((group % K) * N + n) * D + channel, mask=is_channel, other=0.0)
    received = tl.zeros((BLOCK_CHANNELS,), tl.float32)
    for i in range(num_spans):
        span = group * num_spans + (num_spans - 1 - i if ADJOINT else i)
        own = tl.load(carry_ptr + (span * N + n) * D + channel, mask=is_channel, other=0.0)
        total = tl.load(total_ptr + span * D + channel, mask=is_channel, other=0.0)
        tl.store(carry_ptr + (span * N + n) * D + channel, received, mask=is_channel)
        received = tl.exp2(A * total) * received + own


@triton.jit(do_not_specialize=_SIZES)
def gradient_kernel(
    gy_ptr,
    gy_strides,
    u_ptr,
    u_strides,
    delta_ptr,
    delta_strides,
    BC_ptr,
    A_ptr,
    D_ptr,
    bias_ptr,
    states_ptr,
    block_states_ptr,
    carry_ptr,
    gu_ptr,
    gu_strides,
    gdelta_ptr,
    gdelta_strides,
    gA_ptr,
    gBC_ptr,
    gD_ptr,
    gbias_ptr,
    K,
    N,
    D,
    length,
    width,
    column_groups,
    backward_groups,
    span_length,
    CHUNK_LENGTH: tl.constexpr,
    BLOCK_LENGTH: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Compute all gradients from the adjoint r that each span receives in carry, which is overwritten.

    carry is (B, K, spans, N, D). Sums over tokens are stored per span: gA (B, K, spans, N, D), initially zero; gD,
    gbias (B, K, spans, D). Sums over channels are stored per channel block: gBC (channel blocks, B, L, K, 2N).
    block_states (B, K, spans, blocks of a chunk, N, D) holds the states before each block of the current chunk. The
    formulas are those of `_segmented.backward`.
    """
    channel = tl.program_id(0) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    is_channel = channel < D
    span = tl.program_id(1)
    group = tl.program_id(2).to(tl.int64)
    b, k = group // K, group % K
    path = (length, width, (column_groups >> k) & 1 != 0, (backward_groups >> k) & 1 != 0)
    group_span = group * tl.num_programs(1) + span
    batch = tl.num_programs(2) // K

    gy_ptr += b * gy_strides[0] + k * gy_strides[2] + channel * gy_strides[3]
    u_ptr += b * u_strides[0] + k * u_strides[2] + channel * u_strides[3]
    delta_ptr += b * delta_strides[0] + k * delta_strides[2] + channel * delta_strides[3]
    BC_ptr += (b * length * K + k) * 2 * N
    gu_ptr += b * gu_strides[0] + k * gu_strides[2] + channel * gu_strides[3]
    gdelta_ptr += b * gdelta_strides[0] + k * gdelta_strides[2] + channel * gdelta_strides[3]
    gBC_ptr += ((tl.program_id(0) * batch + b) * length * K + k) * 2 * N
    A_ptr += k * N * D + channel
    states_ptr += group * tl.cdiv(length, CHUNK_LENGTH) * N * D + channel
    block_states_ptr += group_span * (CHUNK_LENGTH // BLOCK_LENGTH) * N * D + channel
    carry_ptr += group_span * N * D + channel
    gA_ptr += group_span * N * D + channel
    skip = tl.load(D_ptr + k * D + channel, mask=is_channel, other=0.0)
    bias = tl.load(bias_ptr + k * D + channel, mask=is_channel, other=0.0)

    # Where a lane stores its sum over channels: gB of a token in the lower lanes, gC in the upper ones.
    NUM_SUMS: tl.constexpr = 2 * BLOCK_LENGTH
    tl.static_assert(NUM_SUMS <= _LANES, "A lane holds one sum.")
    lane = tl.arange(0, _LANES)
    lane_sum = lane * NUM_SUMS // _LANES
    lane_token = lane_sum % BLOCK_LENGTH
    is_first_of_sum = lane * NUM_SUMS % _LANES == 0
    gBC_ptr += lane_sum // BLOCK_LENGTH * N

    gD = tl.zeros((BLOCK_CHANNELS,), tl.float32)
    gbias = tl.zeros((BLOCK_CHANNELS,), tl.float32)
    num_chunks = tl.cdiv(tl.minimum(span_length, length - span * span_length), CHUNK_LENGTH)
    for reverse_chunk in range(num_chunks):
        chunk = span * (span_length // CHUNK_LENGTH) + num_chunks - 1 - reverse_chunk
        chunk_first = chunk * CHUNK_LENGTH
        num_blocks = tl.cdiv(tl.minimum(CHUNK_LENGTH, length - chunk_first), BLOCK_LENGTH)

        for block in range(num_blocks - 1):
            first = chunk_first + block * BLOCK_LENGTH
            pixels, num_tokens = _pixels(first, path, BLOCK_LENGTH), length - first
            dt = _steps(delta_ptr, delta_strides[1], bias, pixels, is_channel, BLOCK_LENGTH)
            u = _rows(u_ptr, u_strides[1], pixels, num_tokens, is_channel, BLOCK_LENGTH)
            BC_ptrs = _at(BC_ptr, K * 2 * N, pixels, BLOCK_LENGTH)
            drive = _products(dt, u, BLOCK_LENGTH)
            before = tl.where(block == 0, states_ptr + chunk * N * D, block_states_ptr + block * N * D)
            after = block_states_ptr + (block + 1) * N * D
            _advance(dt, drive, BC_ptrs, A_ptr, before, after, N, D, is_channel, BLOCK_LENGTH)

        for reverse_block in range(num_blocks):
            block = num_blocks - 1 - reverse_block
            first = chunk_first + block * BLOCK_LENGTH
            pixels, num_tokens = _pixels(first, path, BLOCK_LENGTH), length - first
            dt = _steps(delta_ptr, delta_strides[1], bias, pixels, is_channel, BLOCK_LENGTH)
            u = _rows(u_ptr, u_strides[1], pixels, num_tokens, is_channel, BLOCK_LENGTH)
            gy = _rows(gy_ptr, gy_strides[1], pixels, num_tokens, is_channel, BLOCK_LENGTH)
            BC_ptrs = _at(BC_ptr, K * 2 * N, pixels, BLOCK_LENGTH)
            lane_pixel = pixels[0]
            for i in tl.static_range(1, BLOCK_LENGTH):
                lane_pixel = tl.where(lane_token == i, pixels[i], lane_pixel)
            gBC_ptrs = gBC_ptr + lane_pixel * (K * 2 * N)
            stores_sum = is_first_of_sum & (lane_token < num_tokens)
            drive = _products(dt, u, BLOCK_LENGTH)
            gdt, gdrive = (), ()
            for _ in tl.static_range(BLOCK_LENGTH):
                gdt = gdt + (tl.zeros((BLOCK_CHANNELS,), tl.float32),)
                gdrive = gdrive + (tl.zeros((BLOCK_CHANNELS,), tl.float32),)
            start_ptr = tl.where(block == 0, states_ptr + chunk * N * D, block_states_ptr + block * N * D)

            for n in range(N):
                A = tl.load(A_ptr + n * D, mask=is_channel, other=0.0)
                h = tl.load(start_ptr + n * D, mask=is_channel, other=0.0)
                r = tl.load(carry_ptr + n * D, mask=is_channel, other=0.0)
                gA = tl.load(gA_ptr + n * D, mask=is_channel, other=0.0)
                decay, kept, B, gB, gC = (), (), (), (), ()
                for i in tl.static_range(BLOCK_LENGTH):
                    decay = decay + (tl.exp2(dt[i] * A),)
                    kept = kept + (decay[i] * h,)
                    B = B + (tl.load(BC_ptrs[i] + n).to(tl.float32),)
                    h = kept[i] + drive[i] * B[i]
                    gC = gC + (_by_lane(h * gy[i], BLOCK_CHANNELS),)
                # From the last token to the first. The gradient tuples are rebuilt for every state.
                gdt_sums, gdrive_sums = (), ()
                for i in tl.static_range(BLOCK_LENGTH - 1, -1, -1):
                    gh = r + gy[i] * tl.load(BC_ptrs[i] + N + n).to(tl.float32)
                    gB = (_by_lane(gh * drive[i], BLOCK_CHANNELS),) + gB
                    r = decay[i] * gh
                    gexponent = gh * kept[i]
                    gA += gexponent * dt[i]
                    gdrive_sums = (gdrive[i] + gh * B[i],) + gdrive_sums
                    gdt_sums = (gdt[i] + gexponent * A,) + gdt_sums
                gdt, gdrive = gdt_sums, gdrive_sums
                tl.store(carry_ptr + n * D, r, mask=is_channel)
                tl.store(gA_ptr + n * D, gA, mask=is_channel)
                tl.store(gBC_ptrs + n, _sums(gB + gC, lane, NUM_SUMS, _LANES // 2), mask=stores_sum)
            tl.debug_barrier()

            for i in tl.static_range(BLOCK_LENGTH):
                is_real = is_channel & (i < num_tokens)
                # Loaded again from the cache instead of occupying registers all the time.
                u_i = tl.load(u_ptr + pixels[i] * u_strides[1], mask=is_real, other=0.0).to(tl.float32)
                x = tl.load(delta_ptr + pixels[i] * delta_strides[1], mask=is_real, other=0.0).to(tl.float32) + bias
                gdelta = (gdt[i] * 0.6931471805599453 + gdrive[i] * u_i) * _sigmoid(x)
                tl.store(gdelta_ptr + pixels[i] * gdelta_strides[1], gdelta, mask=is_real)
                tl.store(gu_ptr + pixels[i] * gu_strides[1], gdrive[i] * dt[i] + gy[i] * skip, mask=is_real)
                gD += u_i * gy[i]
                gbias += gdelta
    tl.store(gD_ptr + group_span * D + channel, gD, mask=is_channel)
    tl.store(gbias_ptr + group_span * D + channel, gbias, mask=is_channel)
