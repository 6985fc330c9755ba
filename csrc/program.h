// A program: what one step of time does, as a list of stages. Python writes it as numbers; here they become structures
// and are checked, so that the machine need not doubt them.
//
//   PRODUCT    n, n x (buffer, width), m, m x (buffer, initial or -1, width), first weight
//   POINTWISE  by rows, n, n x (operation, width, destination, a, b, c): an operand is a buffer, LOCAL + slot, or -1
//   BARRIER    wait for the other column groups
//   BFLOAT16   what follows multiplies in bfloat16
//
// The work of a POINTWISE stage is shared by columns, all values in it being of one width; or by rows, and then it may
// combine values of several widths, and operations on whole rows.
#pragma once
#include <stdexcept>
#include <string>
#include <vector>
#include "operations.h"
#include "product_bfloat16.h"

enum StageKind { PRODUCT, POINTWISE, BARRIER, BFLOAT16 };
constexpr int LOCAL = 1 << 20;

struct Instruction {
  int operation;
  int64_t width;
  int operands[4];  // the destination first
};
struct Pointwise {
  bool by_rows;
  int64_t width = 0;  // the greatest of the body
  std::vector<Instruction> body;
};
struct Stage {
  StageKind kind;
  int index;  // among the stages of its kind
};
struct Program {
  std::vector<Stage> stages;
  std::vector<Product> products;
  std::vector<Pointwise> pointwise;
  std::vector<int64_t> widths;  // the most columns that any stage touches of each buffer
  int n_weights = 0, n_locals = 0;
  int64_t widest = 0;  // of all pointwise stages
};

class Reader {
 public:
  Reader(const int32_t* code, int64_t length, int n_buffers) : at(code), end(code + length) { program.widths.assign(n_buffers, 0); }

  Program read() {
    while (at < end) {
      StageKind kind = (StageKind)next(0, BFLOAT16, "stage");
      if (kind == PRODUCT) read_product();
      if (kind == POINTWISE) read_pointwise();
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
    pointwise.by_rows = next(0, 1, "whether by rows");
    std::vector<bool> written;
    for (int n = count(); n > 0; n--) {
      Instruction in;
      in.operation = next(0, N_OPERATIONS - 1, "operation");
      in.width = width();
      const Operation& operation = TABLE[in.operation];
      const bool on_rows = works_on_rows(operation.kernel);
      if (!pointwise.by_rows && (on_rows || (pointwise.width && in.width != pointwise.width)))
        throw std::runtime_error("a stage that is shared by columns has values of one width");
      for (int i = 0; i < 4; i++) {
        const bool is_column = (on_rows && i == operation.arity) || (i == 0 && reduces_rows(operation.kernel));
        in.operands[i] = i > operation.arity ? next(-1, -1, "unused operand") : operand(is_column ? 1 : padded(in.width));
      }
      for (int i = 1; i <= operation.arity; i++)
        if (in.operands[i] >= LOCAL && ((size_t)(in.operands[i] - LOCAL) >= written.size() || !written[in.operands[i] - LOCAL]))
          throw std::runtime_error("a local slot is read before it is written");
      if (in.operands[0] >= LOCAL) {
        written.resize(std::max<size_t>(written.size(), in.operands[0] - LOCAL + 1));
        written[in.operands[0] - LOCAL] = true;
        program.n_locals = std::max(program.n_locals, in.operands[0] - LOCAL + 1);
      }
      pointwise.width = std::max(pointwise.width, in.width);
      pointwise.body.push_back(in);
    }
    program.widest = std::max(program.widest, pointwise.width);
    program.stages.push_back({POINTWISE, (int)program.pointwise.size()});
    program.pointwise.push_back(std::move(pointwise));
  }
  int operand(int64_t touched) {
    if (at < end && *at >= LOCAL) return next(LOCAL, LOCAL + (1 << 12), "local slot");
    return buffer(touched);
  }
};
