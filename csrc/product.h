// Products of rows with packed weights: out_o = initial_o + sum over inputs s of A_s W_os, for all outputs o.
//
// The weights of the outputs are cut into columns of one vector each, and these are dealt out in tiles of a few
// vectors. Where all outputs have one width, a tile holds the same column of several outputs (the gates of an LSTM),
// otherwise it holds neighbours. A tile is packed so that the innermost loop reads it front to back.
#pragma once
#include <algorithm>
#include <vector>
#include "vector.h"

// With AVX-512, 8 rows times 3 vectors are 24 sums in 32 registers, otherwise 6 times 2 are 12 in 16.
constexpr int TILE_VECTORS = LANES == 16 ? 3 : 2;
constexpr int TILE_ROWS = LANES == 16 ? 8 : 6;
constexpr int AHEAD = 12;  // rows of weights that are fetched ahead of their use: the L2 cache is slower than the sums
constexpr int LINE = 16;   // floats that memory comes in

struct Weight {
  const float* at;
  int64_t row_stride, column_stride;
};
struct Input {
  int buffer;
  int64_t width;
};
struct Output {
  int buffer, initial;  // initial is -1 where the sum begins from zero
  int64_t width;
};
struct Column {
  int output;
  int64_t at;
};
struct Product {
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  int first_weight;                          // weights are numbered output by output, input by input
  int64_t depth = 0;                         // the widths of all inputs together
  int64_t packed_depth = 0;                  // vectors of floats that one vector of columns takes, packed
  bool in_bfloat16 = false;
  std::vector<std::vector<Column>> columns;  // those of each column group of the team
  std::vector<int64_t> packed_at;            // where the packed weights of each column group begin
};

// Columns [first_owned(w, g, n), first_owned(w, g + 1, n)) of a value of width w belong to group g of n.
static inline int64_t first_owned(int64_t width, int group, int groups) {
  return (width + PADDING - 1) / PADDING * group / groups * PADDING;
}

static inline void deal_columns(Product& product, int groups, int64_t& packed_size) {
  bool same_width = true;
  for (auto& output : product.outputs) same_width &= output.width == product.outputs[0].width;
  product.columns.assign(groups, {});
  for (int g = 0; g < groups; g++) {
    auto& columns = product.columns[g];
    int n = (int)product.outputs.size();
    if (same_width) {
      int64_t width = product.outputs[0].width;
      for (int64_t j = first_owned(width, g, groups); j < first_owned(width, g + 1, groups); j += LANES)
        for (int o = 0; o < n; o++) columns.push_back({o, j});
    } else {
      for (int o = 0; o < n; o++) {
        int64_t width = product.outputs[o].width;
        for (int64_t j = first_owned(width, g, groups); j < first_owned(width, g + 1, groups); j += LANES) columns.push_back({o, j});
      }
    }
    product.packed_at.push_back(packed_size);
    packed_size += (int64_t)columns.size() * product.packed_depth * LANES;
  }
}

// Transposes LANES vectors in registers, one bit of the index after the other.
template <int BIT>
static inline void exchange(Vector* rows) {
#if defined(__clang__)
  for (int i = 0; i < LANES; i++)
    if (!(i & BIT)) {
      Vector low = rows[i], high = rows[i | BIT];
      for (int l = 0; l < LANES; l++) {
        rows[i][l] = l & BIT ? high[l - BIT] : low[l];
        rows[i | BIT][l] = l & BIT ? high[l] : low[l + BIT];
      }
    }
#else
  Integers low, high;
  for (int l = 0; l < LANES; l++) {
    low[l] = (l & BIT) ? LANES + l - BIT : l;
    high[l] = (l & BIT) ? LANES + l : l + BIT;
  }
  for (int i = 0; i < LANES; i++)
    if (!(i & BIT)) {
      Vector a = rows[i], b = rows[i | BIT];
      rows[i] = __builtin_shuffle(a, b, low);
      rows[i | BIT] = __builtin_shuffle(a, b, high);
    }
#endif
}
static inline void transpose(Vector* rows) {
  exchange<1>(rows);
  exchange<2>(rows);
  if (LANES > 4) exchange<4 % LANES>(rows);
  if (LANES > 8) exchange<8 % LANES>(rows);
}

// One column of `depth` weights into every `step`-th vector from `to` on; `valid` of its lanes exist.
static inline void pack_column(float* to, int64_t step, Weight weight, int64_t first_column, int64_t valid, int64_t depth) {
  const float* from = weight.at + first_column * weight.column_stride;
  int64_t k = 0;
  if (valid >= LANES && weight.column_stride == 1) {
    for (; k < depth; k++) store(to + k * step, load(from + k * weight.row_stride));
  } else if (valid >= LANES && weight.row_stride == 1) {
    for (; k + LANES <= depth; k += LANES) {
      Vector rows[LANES];
      for (int l = 0; l < LANES; l++) rows[l] = load(from + k + l * weight.column_stride);
      transpose(rows);
      for (int l = 0; l < LANES; l++) store(to + (k + l) * step, rows[l]);
    }
  }
  for (; k < depth; k++)
    for (int l = 0; l < LANES; l++)
      to[k * step + l] = l < valid ? from[k * weight.row_stride + l * weight.column_stride] : 0.f;
}

// Packs one tile: for each row of the weights, its vectors side by side.
static inline void pack_tile(const Product& product, const Weight* weights, const Column* columns, int n, float* to) {
  for (int v = 0; v < n; v++) {
    int o = columns[v].output, inputs = (int)product.inputs.size();
    float* at = to + v * LANES;
    for (int s = 0; s < inputs; s++) {
      int64_t depth = product.inputs[s].width, valid = product.outputs[o].width - columns[v].at;
      pack_column(at, n * LANES, weights[product.first_weight + o * inputs + s], columns[v].at, valid, depth);
      at += depth * n * LANES;
    }
  }
}

struct Rows {
  const float* at;
  int64_t stride, width;
};
struct Target {
  float* at;
  int64_t stride;
  const float* initial;
  int64_t initial_stride;
};

// ROWS rows times one tile of VECTORS columns, all sums in registers. At the same time a line of memory from `later` on
// is fetched into the L2 cache for each row of the weights.
template <int ROWS, int VECTORS>
static void multiply_block(const float* weights, const Rows* inputs, int n_inputs, int64_t row, const Target* targets,
                           const float* later) {
  constexpr int CHAINS = ROWS == 1 ? 2 : 1;  // with one row the latency of the sums is the limit
  Vector sums[CHAINS][ROWS][VECTORS];
  for (int v = 0; v < VECTORS; v++)
    for (int m = 0; m < ROWS; m++) {
      sums[0][m][v] = targets[v].initial ? load(targets[v].initial + (row + m) * targets[v].initial_stride) : Vector{};
      if (CHAINS > 1) sums[CHAINS - 1][m][v] = CHAINS > 1 ? Vector{} : sums[0][m][v];
    }
  for (int s = 0; s < n_inputs; s++) {
    const float* a = inputs[s].at + row * inputs[s].stride;
    const int64_t stride = inputs[s].stride, width = inputs[s].width;
    int64_t k = 0;
    for (; k + CHAINS <= width; k += CHAINS)
      for (int chain = 0; chain < CHAINS; chain++, weights += VECTORS * LANES) {
        Vector w[VECTORS];
        for (int v = 0; v < VECTORS; v++) __builtin_prefetch(weights + (AHEAD * VECTORS + v) * LANES);
        if (ROWS > 1) {  // one row leaves no time for more than its own weights
          __builtin_prefetch(later, 0, 2);
          later += LINE;
        }
        for (int v = 0; v < VECTORS; v++) w[v] = load(weights + v * LANES);
        for (int m = 0; m < ROWS; m++) {
          Vector x = splat(a[m * stride + k + chain]);
          for (int v = 0; v < VECTORS; v++) sums[chain][m][v] += x * w[v];
        }
      }
    for (; k < width; k++, weights += VECTORS * LANES)
      for (int m = 0; m < ROWS; m++)
        for (int v = 0; v < VECTORS; v++) sums[0][m][v] += splat(a[m * stride + k]) * load(weights + v * LANES);
  }
  for (int v = 0; v < VECTORS; v++)
    for (int m = 0; m < ROWS; m++)
      store(targets[v].at + (row + m) * targets[v].stride, CHAINS > 1 ? sums[0][m][v] + sums[CHAINS - 1][m][v] : sums[0][m][v]);
}

typedef void (*Block)(const float*, const Rows*, int, int64_t, const Target*, const float*);
#define BLOCKS(ROWS) {multiply_block<ROWS, 1>, multiply_block<ROWS, 2>, multiply_block<ROWS, TILE_VECTORS>}
static const Block MULTIPLY[8][3] = {BLOCKS(1), BLOCKS(2), BLOCKS(3), BLOCKS(4), BLOCKS(5), BLOCKS(6), BLOCKS(7), BLOCKS(8)};
#undef BLOCKS

// Calls work(b, row, n) for the rows [first, last) in blocks of at most `most`, which are as equal as can be: 25 rows in
// blocks of at most 8 are 7, 6, 6 and 6.
template <class Work>
static inline void for_each_block(int64_t first, int64_t last, int64_t most, Work work) {
  const int64_t rows = last - first, blocks = (rows + most - 1) / most;
  for (int64_t b = 0, row = first; b < blocks; b++) {
    const int64_t n = rows / blocks + (b < rows % blocks);
    work(b, row, n);
    row += n;
  }
}

// Rows [first, last) times one tile of `depth` rows. The first blocks fetch the tile that lies behind this one.
static inline void multiply_tile(const float* weights, int64_t depth, const Rows* inputs, int n_inputs, int64_t first,
                                 int64_t last, const Target* targets, int vectors) {
  for_each_block(first, last, TILE_ROWS, [&](int64_t b, int64_t row, int64_t n) {
    const float* later = weights + (b * LINE < vectors * LANES ? vectors * LANES + b * LINE : 0) * depth;
    MULTIPLY[n - 1][vectors - 1](weights, inputs, n_inputs, row, targets, later);
  });
}
