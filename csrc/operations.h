// The one table of pointwise operations: name, number of operands, what it computes.
//
// Python reads the names through the C interface, so that no number has to be kept in step by hand. Comparisons give 1
// or 0. The last of the table are not made of vectors lane by lane and have kernels of their own: some add up rows, and
// some read or make whole rows, so that their operands cannot be cut into columns.
#pragma once
#include "vector.h"

#define OPERATIONS(X)                                       \
  X(copy, 1, a)                                             \
  X(add, 2, a + b)                                          \
  X(sub, 2, a - b)                                          \
  X(mul, 2, a * b)                                          \
  X(div, 2, a / b)                                          \
  X(neg, 1, -a)                                             \
  X(abs, 1, absolute(a))                                    \
  X(sign, 1, one_where(a > 0.f) - one_where(a < 0.f))       \
  X(minimum, 2, ((a < b) | (a != a)) ? a : b)               \
  X(maximum, 2, ((a > b) | (a != a)) ? a : b)               \
  X(gt, 2, one_where(a > b))                                \
  X(ge, 2, one_where(a >= b))                               \
  X(lt, 2, one_where(a < b))                                \
  X(le, 2, one_where(a <= b))                               \
  X(eq, 2, one_where(a == b))                               \
  X(ne, 2, one_where(a != b))                               \
  X(where, 3, (Integers)(a != 0.f) ? b : c)                 \
  X(sigmoid, 1, sigmoid(a))                                 \
  X(tanh, 1, hyperbolic_tangent(a))                         \
  X(relu, 1, a < 0.f ? splat(0.f) : a)                      \
  X(exp, 1, exponential(a))                                 \
  X(sqrt, 1, square_root(a))                                \
  X(rsqrt, 1, 1.f / square_root(a))                         \
  X(reciprocal, 1, 1.f / a)                                 \
  X(log, 1, each_lane(a, [](float x) { return std::log(x); }))     \
  X(log1p, 1, each_lane(a, [](float x) { return std::log1p(x); })) \
  X(expm1, 1, each_lane(a, [](float x) { return std::expm1(x); })) \
  X(sin, 1, each_lane(a, [](float x) { return std::sin(x); }))     \
  X(cos, 1, each_lane(a, [](float x) { return std::cos(x); }))     \
  X(erf, 1, each_lane(a, [](float x) { return std::erf(x); }))     \
  X(pow, 2, raised(a, b))                                   \
  X(multiply_add, 3, a * b + c)                             \
  X(subtract_product, 3, c - a * b)                         \
  X(multiply_subtract, 3, a * b - c)                        \
  X(multiply_multiply, 3, a * b * c)                        \
  X(add_add, 3, a + b + c)                                  \
  X(multiply_complement, 2, a * (1.f - b))                  \
  X(sigmoid_slope, 2, a * (b * (1.f - b)))                  \
  X(tanh_slope, 2, a * (1.f - b * b))

static inline Vector raised(Vector a, Vector b) {
  Vector y;
  for (int i = 0; i < LANES; i++) y[i] = std::pow(a[i], b[i]);
  return y;
}

struct Operand {
  float* at;
  int64_t stride;  // from row to row, in floats
};

// destination = operation(a, b, c) on `rows` rows of `columns` floats, and of what fills up the last vector of a row.
typedef void (*Kernel)(Operand destination, Operand a, Operand b, Operand c, int64_t rows, int64_t columns);

template <int ARITY, class Function>
static inline void for_each_vector(Function f, Operand d, Operand a, Operand b, Operand c, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < columns; j += LANES) {
      Vector x = load(a.at + r * a.stride + j), y{}, z{};
      if (ARITY > 1) y = load(b.at + r * b.stride + j);
      if (ARITY > 2) z = load(c.at + r * c.stride + j);
      store(d.at + r * d.stride + j, f(x, y, z));
    }
}

#define DEFINE(name, arity, expression)                                                                        \
  static void kernel_##name(Operand d, Operand x, Operand y, Operand z, int64_t rows, int64_t columns) {       \
    for_each_vector<arity>([](Vector a, Vector b, Vector c) -> Vector { (void)a; (void)b; (void)c; return expression; }, \
                           d, x, y, z, rows, columns);                                                         \
  }
OPERATIONS(DEFINE)
#undef DEFINE

// Adds the sum of the rows of `a`, and of `a * b`, to the one row of the destination.
static void kernel_accumulate(Operand d, Operand a, Operand, Operand, int64_t rows, int64_t columns) {
  for (int64_t j = 0; j < columns; j += LANES) {
    Vector sum = load(a.at + j);
    for (int64_t r = 1; r < rows; r++) sum += load(a.at + r * a.stride + j);
    store(d.at + j, load(d.at + j) + sum);
  }
}
static void kernel_accumulate_product(Operand d, Operand a, Operand b, Operand, int64_t rows, int64_t columns) {
  for (int64_t j = 0; j < columns; j += LANES) {
    Vector sum{};
    for (int64_t r = 0; r < rows; r++) sum += load(a.at + r * a.stride + j) * load(b.at + r * b.stride + j);
    store(d.at + j, load(d.at + j) + sum);
  }
}

// The first column of each row of `a`, in every column.
static void kernel_broadcast(Operand d, Operand a, Operand, Operand, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++) {
    Vector x = splat(a.at[r * a.stride]);
    for (int64_t j = 0; j < columns; j += LANES) store(d.at + r * d.stride + j, x);
  }
}

// The first column of the last operand, and to it the sum, or the maximum, of each row of `a`, or the sum of `a * b`.
template <class Function>
static inline void sum_rows(Function f, Operand d, Operand begin, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++) {
    Vector even{}, odd{};
    int64_t j = 0;
    for (; j + 2 * LANES <= columns; j += 2 * LANES) {
      even += f(r, j);
      odd += f(r, j + LANES);
    }
    for (; j + LANES <= columns; j += LANES) even += f(r, j);
    float sum = begin.at[r * begin.stride] + sum_of_lanes(even + odd);
    if (j < columns) {
      Vector rest = f(r, j);
      for (int l = 0; l < columns - j; l++) sum += rest[l];
    }
    d.at[r * d.stride] = sum;
  }
}
static void kernel_row_sum(Operand d, Operand a, Operand b, Operand, int64_t rows, int64_t columns) {
  sum_rows([&](int64_t r, int64_t j) { return load(a.at + r * a.stride + j); }, d, b, rows, columns);
}
static void kernel_row_sum_product(Operand d, Operand a, Operand b, Operand c, int64_t rows, int64_t columns) {
  sum_rows([&](int64_t r, int64_t j) { return load(a.at + r * a.stride + j) * load(b.at + r * b.stride + j); }, d, c, rows, columns);
}
static void kernel_row_max(Operand d, Operand a, Operand b, Operand, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++) {
    const float* row = a.at + r * a.stride;
    float most = b.at[r * b.stride];
    for (int64_t j = 0; j < columns; j++) most = row[j] > most || row[j] != row[j] ? row[j] : most;
    d.at[r * d.stride] = most;
  }
}

struct Operation {
  const char* name;
  int arity;
  Kernel kernel;
};

#define LIST(name, arity, expression) {#name, arity, kernel_##name},
static const Operation TABLE[] = {
    OPERATIONS(LIST) {"accumulate", 1, kernel_accumulate},
    {"accumulate_product", 2, kernel_accumulate_product},
    {"broadcast", 1, kernel_broadcast},
    {"row_sum", 2, kernel_row_sum},
    {"row_sum_product", 3, kernel_row_sum_product},
    {"row_max", 2, kernel_row_max},
};
#undef LIST
constexpr int N_OPERATIONS = sizeof(TABLE) / sizeof(TABLE[0]);

static inline bool reduces_rows(Kernel kernel) {
  return kernel == kernel_row_sum || kernel == kernel_row_sum_product || kernel == kernel_row_max;
}
static inline bool works_on_rows(Kernel kernel) { return kernel == kernel_broadcast || reduces_rows(kernel); }
