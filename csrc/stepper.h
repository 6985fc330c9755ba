// Steps that come one by one, and the sampling of a language model: included at the end of engine.cpp.
//
// A stepper packs the weights once, and keeps what a run would otherwise make anew. Its arrays do not grow with time:
// states lie in rings, everything else at the same place at every step. Groups of rows are of its threads; there is one
// group of columns, so that the packed weights serve a team of any size.
#pragma once

struct Stepper {
  explicit Stepper(const Run& given) : run(given), products(given.program->products) {
    int64_t packed_size = 0;
    for (Product& product : products) deal_columns(product, 1, packed_size);
    for (int group = 0; group < run.row_groups; group++)
      workers.push_back(std::make_unique<Worker>(run, products, group, 0, (int)run.row_groups, 1, alone));
    pack(run, products, 0, 0, 1);
  }

  void step(int64_t t) {
    if (workers.size() == 1) return workers[0]->run_step(t);
#pragma omp parallel for num_threads(workers.size()) schedule(static)
    for (size_t group = 0; group < workers.size(); group++) workers[group]->run_step(t);
  }

 private:
  const Run run;
  std::vector<Product> products;
  Barrier alone;
  std::vector<std::unique_ptr<Worker>> workers;
};

// What the next character is drawn from, and the memory to do it in. Ids are 0 to `vocabulary` - 1.
struct Sampling {
  const float* vectors;  // of the characters, row by row
  int64_t row_stride, column_stride, width;
  float* input;          // where the step reads the vector of a character
  const float* scores;   // where it leaves the scores of the next one
  int64_t vocabulary, top_k;
  double temperature;
  double* weights;       // scratch for `vocabulary` numbers
  int64_t* order;        // and for as many ids
};

// The id that the scores and a number from [0, 1) choose, or -1 if the highest score is not finite.
static int64_t choose(const Sampling& s, double uniform) {
  int64_t best = 0;
  for (int64_t i = 0; i < s.vocabulary; i++) {
    if (!(s.scores[i] <= INFINITY)) return -1;  // NaN
    if (s.scores[i] > s.scores[best]) best = i;
  }
  const double highest = s.scores[best];
  if (!std::isfinite(highest)) return -1;
  if (s.temperature == 0) return best;
  for (int64_t i = 0; i < s.vocabulary; i++) s.weights[i] = std::exp((s.scores[i] - highest) / s.temperature);
  if (s.top_k < s.vocabulary) {
    for (int64_t i = 0; i < s.vocabulary; i++) s.order[i] = i;
    auto comes_first = [&](int64_t a, int64_t b) { return s.scores[a] != s.scores[b] ? s.scores[a] > s.scores[b] : a < b; };
    std::nth_element(s.order, s.order + s.top_k, s.order + s.vocabulary, comes_first);
    for (int64_t i = s.top_k; i < s.vocabulary; i++) s.weights[s.order[i]] = 0;
  }
  double total = 0;
  for (int64_t i = 0; i < s.vocabulary; i++) s.weights[i] = total += s.weights[i];
  const double target = uniform * total;  // below the total, since the number is below 1
  int64_t id = 0;
  while (s.weights[id] <= target) id++;
  return id;
}

// Packs the weights. Returns null if there is no memory.
EXPORT Stepper* engine_stepper(const Run* run) {
  try {
    return new Stepper(*run);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
EXPORT void engine_stepper_free(Stepper* stepper) { delete stepper; }

// One step, the `t`-th since the states were put into the first slots of their rings.
EXPORT void engine_step(Stepper* stepper, int64_t t) { stepper->step(t); }

// Reads the `n_given` characters at the beginning of `ids`, from step `t` on, and then chooses `n` more, which follow there
// and are read in turn but for the last, with the numbers `uniforms` from [0, 1). Returns how many it chose: fewer than
// `n` if the model gave scores that are not finite.
EXPORT int64_t engine_sample(Stepper* stepper, const Sampling* sampling, int64_t t, int64_t n_given, int64_t n,
                             const double* uniforms, int64_t* ids) {
  const Sampling& s = *sampling;
  for (int64_t i = 0; i < n_given + n - 1; i++) {
    const float* vector = s.vectors + ids[i] * s.row_stride;
    for (int64_t j = 0; j < s.width; j++) s.input[j] = vector[j * s.column_stride];
    stepper->step(t + i);
    const int64_t chosen = i + 1 - n_given;
    if (chosen < 0) continue;
    ids[i + 1] = choose(s, uniforms[chosen]);
    if (ids[i + 1] < 0) return chosen;
  }
  return n;
}
