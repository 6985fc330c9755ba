// What is done for all steps at once, before the loop and after it: products, sums and copies of matrices.
//
// Products are computed by `sgemm` of a BLAS, the one that PyTorch has; Python says where it lies.
#pragma once
#include <algorithm>
#include <cstdint>

// A matrix of `rows` by `columns` floats; `stride` from row to row, or, if it is transposed, from column to column.
struct Matrix {
  float* at;
  int64_t stride, transposed;
};

// MULTIPLY  to = a b, or to + a b if it `adds`; `depth` are the columns of a
// ADD       to = a + b; null is zero, a stride of 0 the same row for all
// TOTAL     the one row of `to` is the sum of the rows of a
struct Task {
  enum Kind { MULTIPLY, ADD, TOTAL };
  int64_t kind, rows, columns, depth, adds;
  Matrix to, a, b;
};

typedef void (*Sgemm)(const char*, const char*, const int64_t*, const int64_t*, const int64_t*, const float*, const float*,
                      const int64_t*, const float*, const int64_t*, const float*, float*, const int64_t*);
static Sgemm sgemm = nullptr;

// Work below this many floats is done by one thread.
constexpr int64_t FEW = 1 << 14;

static void add(const Task& task, int threads) {
  const Matrix to = task.to, a = task.a, b = task.b;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && task.rows * task.columns > FEW)
  for (int64_t r = 0; r < task.rows; r++) {
    float* row = to.at + r * to.stride;
    const float *x = a.at ? a.at + r * a.stride : nullptr, *y = b.at ? b.at + r * b.stride : nullptr;
    if (x && y)
      for (int64_t c = 0; c < task.columns; c++) row[c] = x[c] + y[c];
    else if (x)
      std::copy_n(x, task.columns, row);
    else
      std::fill_n(row, task.columns, 0.f);
  }
}

// Sums of few rows are summed, so that rounding does not grow with the number of rows.
static void total(const Task& task, int threads) {
  constexpr int64_t ROWS = 64, COLUMNS = 64;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && task.rows * task.columns > FEW)
  for (int64_t first = 0; first < task.columns; first += COLUMNS) {
    const int64_t n = std::min(COLUMNS, task.columns - first);
    float sums[COLUMNS] = {}, part[COLUMNS];
    for (int64_t r = 0; r < task.rows; r += ROWS) {
      std::fill_n(part, COLUMNS, 0.f);
      for (int64_t i = r; i < std::min(r + ROWS, task.rows); i++)
        for (int64_t c = 0; c < n; c++) part[c] += task.a.at[i * task.a.stride + first + c];
      for (int64_t c = 0; c < n; c++) sums[c] += part[c];
    }
    std::copy_n(sums, n, task.to.at + first);
  }
}

// A BLAS counts columns first: to it everything is transposed.
static void multiply(const Task& task) {
  const float one = 1, initial = task.adds ? 1 : 0;
  sgemm(task.b.transposed ? "T" : "N", task.a.transposed ? "T" : "N", &task.columns, &task.rows, &task.depth, &one, task.b.at,
        &task.b.stride, task.a.at, &task.a.stride, &initial, task.to.at, &task.to.stride);
}

// Its counts are of 32 bits, as a rule, or else of 64: where the lower half of a number comes first, both read ours.
static bool use_sgemm(Sgemm given) {
  sgemm = given;
  float a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 0, 2, 3, 1, 0}, to[] = {1, 1, 1, 1};
  const float expected[] = {8, 6, 17, 18};  // (2, 3) times the transpose of (2, 3), added to ones
  multiply({Task::MULTIPLY, 2, 2, 3, 1, {to, 2, 0}, {a, 3, 0}, {b, 3, 1}});
  if (!std::equal(to, to + 4, expected)) sgemm = nullptr;
  return sgemm != nullptr;
}

static void run_tasks(const Task* tasks, int64_t n, int threads) {
  for (const Task* task = tasks; task < tasks + n; task++) {
    if (task->columns == 0 || (task->rows == 0 && task->kind != Task::TOTAL)) continue;
    switch (task->kind) {
      case Task::MULTIPLY:
        if (task->depth > 0) multiply(*task);
        else if (!task->adds) add({Task::ADD, task->rows, task->columns, 0, 0, task->to, {}, {}}, threads);
        break;
      case Task::ADD: add(*task, threads); break;
      case Task::TOTAL: total(*task, threads); break;
    }
  }
}
