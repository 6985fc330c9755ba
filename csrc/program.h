// A program: what one step of time does, as a list of stages. Python writes it as numbers; here they become structures
// and are checked, so that the machine need not doubt them.
//
//   PRODUCT    n, n x (buffer, width), m, m x (buffer, initial or -1, width), first weight
//   POINTWISE  width, n, n x (operation, destination, a, b, c): an operand is a buffer, LOCAL + slot, or -1
//   REDUCE     0 sum or 1 maximum, destination, n, n x (buffer, width): of each row, over all these columns
//   BARRIER    wait for the other column groups
//   BFLOAT16   what follows multiplies in bfloat16
#pragma once
#include <stdexcept>
#include <string>
#include <vector>
#include "operations.h"
#include "product_bfloat16.h"

enum StageKind { PRODUCT, POINTWISE, REDUCE, BARRIER, BFLOAT16 };
constexpr int LOCAL = 1 << 20;

struct Instruction {
  int operation, operands[4];  // the destination first
};
struct Pointwise {
  int64_t width;
  std::vector<Instruction> body;
  std::vector<int> reads;  // buffers that are read before they are written
};
struct Reduce {
  bool maximum;
  int destination;
  std::vector<Input> inputs;
};
struct Stage {
  StageKind kind;
  int index;  // among the stages of its kind
};
struct Program {
  std::vector<Stage> stages;
  std::vector<Product> products;
  std::vector<Pointwise> pointwise;
  std::vector<Reduce> reductions;
  std::vector<int64_t> widths;  // the most columns that any stage touches of each buffer
  int n_weights = 0, n_locals = 0;
};

class Reader {
 public:
  Reader(const int32_t* code, int64_t length, int n_buffers) : at(code), end(code + length) { program.widths.assign(n_buffers, 0); }

  Program read() {
    while (at < end) {
      StageKind kind = (StageKind)next(0, BFLOAT16, "stage");
      if (kind == PRODUCT) read_product();
      if (kind == POINTWISE) read_pointwise();
      if (kind == REDUCE) read_reduce();
      if (kind == BARRIER) program.stages.push_back({BARRIER, 0});
      if (kind == BFLOAT16) in_bfloat16 = true;
    }
    return std::move(program);
  }

 private:
  const int32_t *at, *end;
  Program program;
  bool in_bfloat16 = false;

  int next(int64_t low, int64_t high, const char* what) {
    if (at == end) throw std::runtime_error(std::string("the program ends in the middle of a stage, at a ") + what);
    if (*at < low || *at > high) throw std::runtime_error(std::string(what) + " out of range: " + std::to_string(*at));
    return *at++;
  }
  int width() { return next(1, 1 << 24, "width"); }
  int count() { return next(1, 1 << 16, "count"); }
  int buffer() { return next(0, (int64_t)program.widths.size() - 1, "buffer"); }
  int buffer(int64_t touched) {
    int b = buffer();
    program.widths[b] = std::max(program.widths[b], touched);
    return b;
  }
  Input input() {
    int b = buffer(), w = width();
    program.widths[b] = std::max<int64_t>(program.widths[b], w);
    return {b, w};
  }
  static int64_t padded(int64_t w) { return (w + PADDING - 1) / PADDING * PADDING; }

  void read_product() {
    Product product;
    for (int n = count(); n > 0; n--) {
      product.inputs.push_back(input());
      product.depth += product.inputs.back().width;
    }
    for (int n = count(); n > 0; n--) {
      int to = buffer(), initial = next(-1, (int64_t)program.widths.size() - 1, "initial value"), w = width();
      for (int b : {to, initial})
        if (b >= 0) program.widths[b] = std::max(program.widths[b], padded(w));
      product.outputs.push_back({to, initial, w});
    }
    product.first_weight = next(0, 1 << 24, "weight");
    program.n_weights = std::max(program.n_weights, product.first_weight + (int)(product.inputs.size() * product.outputs.size()));
    product.in_bfloat16 = in_bfloat16;
    product.packed_depth = in_bfloat16 ? bfloat16_packed_depth(product.depth) : product.depth;
    program.stages.push_back({PRODUCT, (int)program.products.size()});
    program.products.push_back(std::move(product));
  }

  void read_pointwise() {
    Pointwise pointwise;
    pointwise.width = width();
    std::vector<bool> written;
    for (int n = count(); n > 0; n--) {
      Instruction in;
      in.operation = next(0, N_OPERATIONS - 1, "operation");
      int operands[4] = {operand(pointwise.width), 0, 0, 0}, arity = TABLE[in.operation].arity;
      const bool spreads = TABLE[in.operation].kernel == kernel_broadcast;  // reads one column, of a buffer
      for (int i = 1; i < 4; i++)
        operands[i] = i > arity ? next(-1, -1, "unused operand") : spreads ? buffer(1) : operand(pointwise.width);
      for (int i = 1; i <= arity; i++)
        if (operands[i] >= LOCAL && ((size_t)(operands[i] - LOCAL) >= written.size() || !written[operands[i] - LOCAL]))
          throw std::runtime_error("a local slot is read before it is written");
      if (operands[0] >= LOCAL) {
        written.resize(std::max<size_t>(written.size(), operands[0] - LOCAL + 1));
        written[operands[0] - LOCAL] = true;
        program.n_locals = std::max(program.n_locals, operands[0] - LOCAL + 1);
      }
      std::copy(operands, operands + 4, in.operands);
      if (!spreads)
        for (int i = 1; i <= arity; i++) note_read(pointwise, operands[i]);
      pointwise.body.push_back(in);
    }
    program.stages.push_back({POINTWISE, (int)program.pointwise.size()});
    program.pointwise.push_back(std::move(pointwise));
  }
  static void note_read(Pointwise& pointwise, int operand) {
    if (operand >= LOCAL) return;
    for (const Instruction& earlier : pointwise.body)
      if (earlier.operands[0] == operand) return;
    if (std::find(pointwise.reads.begin(), pointwise.reads.end(), operand) == pointwise.reads.end()) pointwise.reads.push_back(operand);
  }
  int operand(int64_t width) {
    if (at < end && *at >= LOCAL) return next(LOCAL, LOCAL + (1 << 12), "local slot");
    return buffer(padded(width));
  }

  void read_reduce() {
    Reduce reduce;
    reduce.maximum = next(0, 1, "reduction");
    reduce.destination = buffer(1);
    for (int n = count(); n > 0; n--) reduce.inputs.push_back(input());
    program.stages.push_back({REDUCE, (int)program.reductions.size()});
    program.reductions.push_back(std::move(reduce));
  }
};
