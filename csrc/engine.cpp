// The machine: runs a program for T steps over N rows, and the C interface to it.
//
// A team of threads stands in a grid of row groups by column groups. Row groups never wait for one another: each runs
// through all of time on its own rows. Column groups share rows, each its own columns of them or, where whole rows are
// read, its own part of the rows; they wait where the program says BARRIER. The team is PyTorch's own: OpenMP, with the
// library that is loaded already.
#include <omp.h>
#include <sched.h>
#include <atomic>
#include <cstdlib>
#include <memory>
#include "program.h"
#include "tasks.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

// Where a buffer lies. At step t, for worker w, in row r and column c it is at
//   base + (t + shift, or the lowest bit of that in a ring) * time_stride + w * worker_stride + r * row_stride + c.
struct Buffer {
  float* base;
  int64_t time_stride, row_stride, worker_stride, shift, is_ring;
};

struct Run {
  Program* program;
  const Buffer* buffers;
  const Weight* weights;
  int64_t steps, rows;
  int64_t backwards;           // whether time runs from the last step to the first
  int64_t row_groups, column_groups;
  float* workspace;            // for packed weights
  int64_t threads;             // of the tasks
  const Task* before;
  int64_t n_before;
  const Task* after;
  int64_t n_after;
};

class Barrier {
 public:
  void expect(int n) { expected = n; }
  void wait() {
    if (expected == 1) return;
    int round = rounds.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == expected - 1) {
      arrived.store(0, std::memory_order_relaxed);
      rounds.fetch_add(1, std::memory_order_release);
      return;
    }
    for (int spins = 0; rounds.load(std::memory_order_acquire) == round; spins++) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
      if (spins > 20000) sched_yield();  // more threads than processors
    }
  }

 private:
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<int> rounds{0};
  int expected = 1;
};

struct Free {
  void operator()(void* p) const { std::free(p); }
};
typedef std::unique_ptr<float[], Free> Floats;
static Floats aligned_floats(int64_t n) {
  return Floats((float*)std::aligned_alloc(64, (size_t)(n * 4 + 127) / 64 * 64));
}

// One thread of the team, and the part of the work that is its own.
class Worker {
 public:
  Worker(const Run& run, const std::vector<Product>& products, int row_group, int column_group, int row_groups,
         int column_groups, Barrier& barrier)
      : run(run), program(*run.program), products(products), barrier(barrier),
        worker(row_group * column_groups + column_group), column_group(column_group), column_groups(column_groups),
        first(run.rows * row_group / row_groups), last(run.rows * (row_group + 1) / row_groups),
        now(program.widths.size()), local_size(std::max(program.widest, BLOCK) + PADDING),
        local(aligned_floats(program.n_locals * local_size + PADDING)),
        rounded(aligned_floats(size_of_rounded())) {}

  void run_all_steps() {
    for (int64_t i = 0; i < run.steps; i++) run_step(run.backwards ? run.steps - 1 - i : i);
  }

  void run_step(int64_t t) {
    find_buffers(t);
    for (const Stage& stage : program.stages) switch (stage.kind) {
        case PRODUCT: multiply(products[stage.index]); break;
        case POINTWISE: compute(program.pointwise[stage.index]); break;
        case BARRIER: barrier.wait(); break;
        case BFLOAT16: break;
      }
  }

 private:
  static constexpr int64_t BLOCK = 768;  // floats of each value that are worked on at once: all of them stay in L1

  const Run& run;
  const Program& program;
  const std::vector<Product>& products;
  Barrier& barrier;
  const int worker, column_group, column_groups;
  const int64_t first, last;  // rows
  std::vector<float*> now;    // the buffers at this step
  const int64_t local_size;
  Floats local;
  Floats rounded;             // rows that a product reads, in bfloat16

  void find_buffers(int64_t t) {
    for (size_t b = 0; b < now.size(); b++) {
      const Buffer& buffer = run.buffers[b];
      int64_t step = t + buffer.shift;
      now[b] = buffer.base + (buffer.is_ring ? step & 1 : step) * buffer.time_stride + worker * buffer.worker_stride;
    }
  }

  int64_t size_of_rounded() const {
    int64_t size = 0;
    for (const Product& product : products)
      if (product.in_bfloat16) size = std::max(size, rounded_size(product, last - first));
    return size;
  }

  void multiply(const Product& product) {
    Rows inputs[MOST_INPUTS];
    int n_inputs = (int)product.inputs.size();
    for (int s = 0; s < n_inputs; s++) {
      const Input& in = product.inputs[s];
      inputs[s] = {now[in.buffer], run.buffers[in.buffer].row_stride, in.width};
    }
    if (product.in_bfloat16) {
      Bfloat16Rows rows(product, inputs, n_inputs, first, last, rounded.get());
      return for_each_tile(product, bfloat16_tile_vectors(), [&](const float* weights, const Target* targets, int n) {
        rows.multiply(weights, targets, n);
      });
    }
    for_each_tile(product, TILE_VECTORS, [&](const float* weights, const Target* targets, int n) {
      multiply_tile(weights, product.depth, inputs, n_inputs, first, last, targets, n);
    });
  }

  template <class Multiply>
  void for_each_tile(const Product& product, int vectors, Multiply multiply) {
    const std::vector<Column>& columns = product.columns[column_group];
    const float* weights = run.workspace + product.packed_at[column_group];
    for (size_t q = 0; q < columns.size(); q += vectors) {
      int n = (int)std::min<size_t>(vectors, columns.size() - q);
      Target targets[TILE_VECTORS];
      for (int v = 0; v < n; v++) {
        const Output& out = product.outputs[columns[q + v].output];
        int64_t c = columns[q + v].at;
        bool begins = out.initial >= 0;
        targets[v] = {now[out.buffer] + c, run.buffers[out.buffer].row_stride, begins ? now[out.initial] + c : nullptr,
                      begins ? run.buffers[out.initial].row_stride : 0};
      }
      if (q + vectors < columns.size()) fetch_initial(product, &columns[q + vectors], (int)std::min<size_t>(vectors, columns.size() - q - vectors));
      multiply(weights, targets, n);
      weights += n * product.packed_depth * LANES;
    }
  }

  // What the next tile begins from lies far away: in memory that the loop has not seen for a whole sequence.
  void fetch_initial(const Product& product, const Column* columns, int n) {
    for (int v = 0; v < n; v++) {
      const Output& out = product.outputs[columns[v].output];
      if (out.initial < 0 || run.buffers[out.initial].row_stride == 0) continue;
      for (int64_t r = first; r < last; r++)
        __builtin_prefetch(now[out.initial] + r * run.buffers[out.initial].row_stride + columns[v].at);
    }
  }

  void compute(const Pointwise& pointwise) {
    if (pointwise.by_rows) return compute_by_rows(pointwise);
    int64_t begin = first_owned(pointwise.width, column_group, column_groups);
    int64_t end = first_owned(pointwise.width, column_group + 1, column_groups);
    int64_t columns = std::min(end - begin, BLOCK), rows = columns ? std::max<int64_t>(1, BLOCK / columns) : 0;
    for (int64_t c = begin; c < end; c += columns)
      for (int64_t r = first; r < last; r += rows) {
        int64_t n_columns = std::min(columns, end - c);
        for (const Instruction& in : pointwise.body) run_instruction(in, r, std::min(rows, last - r), c, n_columns, n_columns);
      }
  }
  void compute_by_rows(const Pointwise& pointwise) {
    const int64_t begin = first + (last - first) * column_group / column_groups;
    const int64_t end = first + (last - first) * (column_group + 1) / column_groups;
    const int64_t widest = (pointwise.width + PADDING - 1) / PADDING * PADDING, rows = std::max<int64_t>(1, BLOCK / widest);
    for (int64_t r = begin; r < end; r += rows)
      for (const Instruction& in : pointwise.body) run_instruction(in, r, std::min(rows, end - r), 0, in.width, widest);
  }
  void run_instruction(const Instruction& in, int64_t row, int64_t rows, int64_t column, int64_t columns, int64_t local_stride) {
    const Operation& operation = TABLE[in.operation];
    Operand operands[4];
    for (int i = 0; i <= operation.arity; i++) operands[i] = locate(in.operands[i], row, column, local_stride);
    operation.kernel(operands[0], operands[1], operands[2], operands[3], rows, columns);
  }

  Operand locate(int operand, int64_t row, int64_t column, int64_t local_stride) {
    if (operand >= LOCAL) return {local.get() + (operand - LOCAL) * local_size, local_stride};
    int64_t stride = run.buffers[operand].row_stride;
    return {now[operand] + row * stride + column, stride};
  }

 public:
  static constexpr int MOST_INPUTS = 64;
};

// Threads share the tiles, so that each packs, as far as can be, what it will read.
static void pack(const Run& run, const std::vector<Product>& products, int row_group, int column_group, int row_groups) {
  int64_t tile = 0;
  for (const Product& product : products) {
    const std::vector<Column>& columns = product.columns[column_group];
    const int vectors = product.in_bfloat16 ? bfloat16_tile_vectors() : TILE_VECTORS;
    for (size_t q = 0; q < columns.size(); q += vectors, tile++) {
      if (tile % row_groups != row_group) continue;
      int n = (int)std::min<size_t>(vectors, columns.size() - q);
      float* to = run.workspace + product.packed_at[column_group] + (int64_t)q * product.packed_depth * LANES;
      (product.in_bfloat16 ? pack_bfloat16_tile : pack_tile)(product, run.weights, &columns[q], n, to);
    }
  }
}

EXPORT int engine_operations() { return N_OPERATIONS; }
EXPORT const char* engine_operation_name(int i) { return TABLE[i].name; }
EXPORT int engine_operation_arity(int i) { return TABLE[i].arity; }
EXPORT int engine_bfloat16() { return bfloat16_by(); }
// A matrix, row after row, rounded to bfloat16 but written as float.
EXPORT void engine_round(const float* from, int64_t rows, int64_t width, int64_t stride, float* to, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (rows * width > 1 << 14)
  for (int64_t row = 0; row < rows; row++) {
    const Rows one{from + row * stride, stride, width};
    round_row(&one, 1, 0, to + row * width);
  }
}
EXPORT int engine_lanes() { return LANES; }

// Reads and checks a program. Returns null, and says why in `error`, if it is not one.
EXPORT Program* engine_program(const int32_t* code, int64_t length, int n_buffers, char* error, int64_t error_size) {
  try {
    auto program = std::make_unique<Program>(Reader(code, length, n_buffers).read());
    for (const Product& product : program->products)
      if (product.inputs.size() > Worker::MOST_INPUTS) throw std::runtime_error("a product has too many inputs");
    return program.release();
  } catch (const std::exception& e) {
    std::strncpy(error, e.what(), error_size - 1);
    return nullptr;
  }
}
EXPORT void engine_free(Program* program) { delete program; }

// Floats of workspace that a run with so many column groups needs for its packed weights.
EXPORT int64_t engine_workspace(const Program* program, int column_groups) {
  int64_t size = 0;
  for (Product product : program->products) deal_columns(product, column_groups, size);
  return size + PADDING;
}

// The most columns that the program touches of a buffer.
EXPORT int64_t engine_width(const Program* program, int buffer) { return program->widths[buffer]; }
EXPORT int engine_weights(const Program* program) { return program->n_weights; }

static void run_loop(const Run& run) {
  if (run.steps <= 0 || run.rows <= 0) return;
  std::vector<Product> products = run.program->products;
  int64_t packed_size = 0;
  for (Product& product : products) deal_columns(product, (int)run.column_groups, packed_size);
  std::unique_ptr<Barrier[]> barriers(new Barrier[run.row_groups]);
  Barrier everybody;
  const int wanted = (int)(run.row_groups * run.column_groups);
  std::atomic<bool> too_few{false};
#pragma omp parallel num_threads(wanted)
  {
    const int me = omp_get_thread_num(), row_group = me / (int)run.column_groups, column_group = me % (int)run.column_groups;
#pragma omp single
    {
      too_few = omp_get_num_threads() < wanted;
      everybody.expect(wanted);
      for (int i = 0; i < run.row_groups; i++) barriers[i].expect((int)run.column_groups);
    }
    if (!too_few) {
      pack(run, products, row_group, column_group, (int)run.row_groups);
      everybody.wait();
      Worker(run, products, row_group, column_group, (int)run.row_groups, (int)run.column_groups, barriers[row_group]).run_all_steps();
    }
  }
  if (!too_few) return;
  // OpenMP gave a smaller team (a limit, or a region inside another): one thread does it all.
  packed_size = 0;
  for (Product& product : products) {
    product.packed_at.clear();
    deal_columns(product, 1, packed_size);
  }
  Barrier alone;
  pack(run, products, 0, 0, 1);
  Worker(run, products, 0, 0, 1, 1, alone).run_all_steps();
}

// Takes `sgemm` of a BLAS for the products of tasks, if it multiplies as one.
EXPORT int engine_use_sgemm(Sgemm given) { return use_sgemm(given); }

// Runs what a table says: the `n` numbers at `numbers`, each with the address added that `sources` gives the place of among
// `addresses`; ABSOLUTE stands for none, and ITSELF for the address of the table. From `run_at` on it is a `Run`.
EXPORT void engine_run(const int64_t* numbers, const int64_t* sources, int64_t n, int64_t run_at, const int64_t* addresses) {
  enum { ITSELF = -2, ABSOLUTE = -1 };
  std::vector<int64_t> table(n);
  for (int64_t i = 0; i < n; i++)
    table[i] = numbers[i] + (sources[i] >= 0 ? addresses[sources[i]] : sources[i] == ITSELF ? (int64_t)table.data() : 0);
  const Run& run = *(const Run*)&table[run_at];
  run_tasks(run.before, run.n_before, (int)run.threads);
  run_loop(run);
  run_tasks(run.after, run.n_after, (int)run.threads);
}

#include "stepper.h"
