// Products in bfloat16: both operands are rounded to it, to the nearest and to even ones where two are as near, and the
// sums are float. The processor decides how:
//
//   tiles    AMX: 32 rows times 32 columns at once, 32 products deep
//   pairs    AVX512-BF16: vectors of pairs, as dot products of two
//   rounded  any other: float that is rounded to bfloat16, multiplied as float is
//
// The first two read the same packed weights: in one 32-bit lane those of columns 2 k and 2 k + 1 of the rows that they
// are multiplied by, low half first. The instructions take subnormal numbers for zeros.
#pragma once
#include "product.h"
#if defined(__AMX_BF16__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum Bfloat16 { ROUNDED, PAIRS, TILES };

// Linux lets a process use the tiles, which make its context larger, when it asks for them.
static inline Bfloat16 bfloat16_by() {
#if defined(__AMX_BF16__)
  constexpr int REQUEST = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const Bfloat16 by = syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0 ? TILES : PAIRS;
  return by;
#elif defined(__AVX512BF16__)
  return PAIRS;
#else
  return ROUNDED;
#endif
}

constexpr int64_t TILE_DEPTH = 32;   // numbers of a row that a tile holds
constexpr int64_t FEWEST_ROWS = 4;   // below which most of a tile would be empty

// Whole tiles, or pairs.
static inline int64_t padded_depth(int64_t depth) {
  const int64_t whole = bfloat16_by() == TILES ? TILE_DEPTH : 2;
  return (depth + whole - 1) / whole * whole;
}

// How many vectors of floats one vector of columns takes, packed.
static inline int64_t bfloat16_packed_depth(int64_t depth) { return bfloat16_by() == ROUNDED ? depth : padded_depth(depth) / 2; }

// With tiles, 2 of rows times 2 of columns are 4 of sums in 8.
static inline int bfloat16_tile_vectors() { return bfloat16_by() == TILES ? 2 : TILE_VECTORS; }

typedef uint32_t Bits __attribute__((vector_size(LANES * 4)));
typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));
typedef uint16_t UnalignedHalves __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

// The upper halves are bfloat16, the lower ones zero. NaN stays NaN.
static inline Bits rounded_bits(Vector x) {
  Bits bits = (Bits)x, nan = (Bits)(x != x);
  Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000;
  return (nan & 0x7fc00000) | (~nan & rounded);
}
static inline void store_rounded(float* to, Vector x) { store(to, (Vector)rounded_bits(x)); }
static inline void store_rounded(uint16_t* to, Vector x) {
  *(UnalignedHalves*)to = __builtin_convertvector(rounded_bits(x) >> 16, Halves);
}

// One row of all inputs, side by side and rounded, as float or as bfloat16; returns its end.
template <class Number>
static inline Number* round_row(const Rows* inputs, int n_inputs, int64_t row, Number* to) {
  for (int s = 0; s < n_inputs; s++) {
    const float* from = inputs[s].at + row * inputs[s].stride;
    const int64_t width = inputs[s].width;
    int64_t k = 0;
    for (; k + LANES <= width; k += LANES) store_rounded(to + k, load(from + k));
    if (k < width) {
      float rest[LANES] = {};
      Number rounded[LANES];
      std::copy(from + k, from + width, rest);
      store_rounded(rounded, load(rest));
      std::copy(rounded, rounded + width - k, to + k);
    }
    to += width;
  }
  return to;
}

// Rows [first, last). Zeros fill up the padded depth: what meets them are zeros, too, and must not be NaN.
template <class Number>
static inline void round_rows(const Rows* inputs, int n_inputs, int64_t first, int64_t last, Number* to, int64_t stride) {
  for (int64_t row = first; row < last; row++, to += stride) std::fill(round_row(inputs, n_inputs, row, to), to + stride, Number(0));
}

// Floats that the rounded rows of a product take.
static inline int64_t rounded_size(const Product& product, int64_t rows) {
  return rows * bfloat16_packed_depth(product.depth) + PADDING;
}

// Packs one tile, by way of the same tile in float.
static inline void pack_bfloat16_tile(const Product& product, const Weight* weights, const Column* columns, int n, float* to) {
  if (bfloat16_by() == ROUNDED) {
    pack_tile(product, weights, columns, n, to);
    for (int64_t i = 0; i < product.depth * n * LANES; i += LANES) store_rounded(to + i, load(to + i));
    return;
  }
  std::vector<float> floats((size_t)(padded_depth(product.depth) * n * LANES));
  pack_tile(product, weights, columns, n, floats.data());
  const float* at = floats.data();
  for (int64_t k = 0; k < padded_depth(product.depth); k += 2, at += n * LANES)
    for (int v = 0; v < n; v++, at += LANES, to += LANES)
      store(to, (Vector)(rounded_bits(load(at)) >> 16 | rounded_bits(load(at + n * LANES))));
}

#if defined(__AVX512BF16__)
// ROWS rows times one tile of VECTORS columns, all sums in registers; `row` of the targets is the first of `rows`.
template <int ROWS, int VECTORS>
static void multiply_pairs(const float* weights, const uint16_t* rows, int64_t stride, int64_t depth, int64_t row, const Target* targets) {
  __m512 sums[ROWS][VECTORS];
  for (int v = 0; v < VECTORS; v++)
    for (int m = 0; m < ROWS; m++)
      sums[m][v] = (__m512)(targets[v].initial ? load(targets[v].initial + (row + m) * targets[v].initial_stride) : Vector{});
  for (int64_t k = 0; k < depth; k += 2, weights += VECTORS * LANES) {
    __m512bh w[VECTORS];
    for (int v = 0; v < VECTORS; v++) w[v] = (__m512bh)_mm512_loadu_si512(weights + v * LANES);
    for (int m = 0; m < ROWS; m++) {
      int32_t pair;
      std::memcpy(&pair, rows + m * stride + k, sizeof pair);
      const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
      for (int v = 0; v < VECTORS; v++) sums[m][v] = _mm512_dpbf16_ps(sums[m][v], x, w[v]);
    }
  }
  for (int v = 0; v < VECTORS; v++)
    for (int m = 0; m < ROWS; m++) store(targets[v].at + (row + m) * targets[v].stride, (Vector)sums[m][v]);
}

typedef void (*PairBlock)(const float*, const uint16_t*, int64_t, int64_t, int64_t, const Target*);
#define BLOCKS(ROWS) {multiply_pairs<ROWS, 1>, multiply_pairs<ROWS, 2>, multiply_pairs<ROWS, TILE_VECTORS>}
static const PairBlock MULTIPLY_PAIRS[8][3] = {BLOCKS(1), BLOCKS(2), BLOCKS(3), BLOCKS(4), BLOCKS(5), BLOCKS(6), BLOCKS(7), BLOCKS(8)};
#undef BLOCKS
#endif

#if defined(__AMX_BF16__)
// Compilers do not know what the instructions on tiles read: it has to be in memory before, and to stay until after.
static inline void in_memory(const void* what) { __asm__ volatile("" : : "r"(what) : "memory"); }

// The shapes of the eight tiles: 0 to 3 for sums, 4 and 5 for rows, 6 and 7 for weights.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_of_a_row[16] = {};
  uint8_t rows[16] = {};

  TileShapes(int64_t upper, int64_t lower) {
    const int64_t of_each[8] = {upper, upper, lower, lower, upper, lower, TILE_DEPTH / 2, TILE_DEPTH / 2};
    for (int i = 0; i < 8; i++) {
      rows[i] = (uint8_t)of_each[i];
      bytes_of_a_row[i] = of_each[i] ? 64 : 0;
    }
  }
};

// Up to 16 `upper` and 16 `lower` rows times 1 or 2 vectors of columns.
static inline void multiply_tiles(const float* weights, const uint16_t* rows, int64_t stride, int64_t depth, int64_t row,
                                  int64_t upper, bool has_lower, const Target* targets, int vectors) {
  const bool has_right = vectors > 1;
  in_memory(rows);
#define BEGIN(TILE, ROW, V)                                                                                              \
  if (targets[V].initial)                                                                                               \
    _tile_loadd(TILE, targets[V].initial + (ROW)*targets[V].initial_stride, targets[V].initial_stride * sizeof(float)); \
  else                                                                                                                  \
    _tile_zero(TILE);
  BEGIN(0, row, 0)
  if (has_right) { BEGIN(1, row, 1) }
  if (has_lower) { BEGIN(2, row + upper, 0) }
  if (has_lower && has_right) { BEGIN(3, row + upper, 1) }
#undef BEGIN
  const int64_t bytes = vectors * LANES * (int64_t)sizeof(float);
  for (int64_t k = 0; k < depth; k += TILE_DEPTH, weights += TILE_DEPTH / 2 * vectors * LANES) {
    _tile_loadd(4, rows + k, stride * sizeof(uint16_t));
    _tile_loadd(6, weights, bytes);
    _tile_dpbf16ps(0, 4, 6);
    if (has_right) {
      _tile_loadd(7, weights + LANES, bytes);
      _tile_dpbf16ps(1, 4, 7);
    }
    if (has_lower) {
      _tile_loadd(5, rows + upper * stride + k, stride * sizeof(uint16_t));
      _tile_dpbf16ps(2, 5, 6);
      if (has_right) _tile_dpbf16ps(3, 5, 7);
    }
  }
#define END(TILE, ROW, V) _tile_stored(TILE, targets[V].at + (ROW)*targets[V].stride, targets[V].stride * sizeof(float));
  END(0, row, 0)
  if (has_right) { END(1, row, 1) }
  if (has_lower) { END(2, row + upper, 0) }
  if (has_lower && has_right) { END(3, row + upper, 1) }
#undef END
}
#endif

// The rounded rows of one product, to be multiplied with one tile of its packed weights after another.
class Bfloat16Rows {
 public:
  Bfloat16Rows(const Product& product, const Rows* inputs, int n_inputs, int64_t first, int64_t last, float* memory)
      : first(first), last(last), depth(product.depth), memory(memory) {
    if (bfloat16_by() == ROUNDED)
      round_rows(inputs, n_inputs, first, last, memory, depth);
    else
      round_rows(inputs, n_inputs, first, last, (uint16_t*)memory, padded_depth(depth));
  }
  ~Bfloat16Rows() {
#if defined(__AMX_BF16__)
    if (upper) _tile_release();
#endif
  }
  Bfloat16Rows(const Bfloat16Rows&) = delete;

  void multiply(const float* weights, const Target* targets, int vectors) {
    if (bfloat16_by() == ROUNDED) {
      const Rows all{memory - first * depth, depth, depth};
      return multiply_tile(weights, depth, &all, 1, first, last, targets, vectors);
    }
    for_each_block(first, last, by_tiles() ? 2 * 16 : TILE_ROWS,
                   [&](int64_t, int64_t row, int64_t n) { multiply_rows(weights, row, n, targets, vectors); });
  }

 private:
  const int64_t first, last, depth;
  float* const memory;
  int64_t upper = 0, lower = 0;  // rows of the tiles as they are shaped now

  bool by_tiles() const { return bfloat16_by() == TILES && last - first >= FEWEST_ROWS; }

  void multiply_rows(const float* weights, int64_t row, int64_t n, const Target* targets, int vectors) {
#if defined(__AVX512BF16__)
    const int64_t stride = padded_depth(depth);
    const uint16_t* at = (const uint16_t*)memory + (row - first) * stride;
#if defined(__AMX_BF16__)
    if (by_tiles()) {
      shape_tiles(n);
      return multiply_tiles(weights, at, stride, stride, row, upper, lower > 0, targets, vectors);
    }
#endif
    MULTIPLY_PAIRS[n - 1][vectors - 1](weights, at, stride, stride, row, targets);
#endif
  }

#if defined(__AMX_BF16__)
  void shape_tiles(int64_t n) {
    const int64_t wanted = n > 16 ? (n + 1) / 2 : n;
    if (upper == wanted && lower == n - wanted) return;
    upper = wanted, lower = n - wanted;
    const TileShapes shapes(upper, lower);
    in_memory(&shapes);
    _tile_loadconfig(&shapes);
    in_memory(&shapes);
  }
#endif
};
