// AVX512-BF16 and, with SOFTWARE_TILES, AMX on processors without them: the handful of instructions that
// csrc/product_bfloat16.h uses, as functions on memory. Included before everything else, so that what is tested is the
// very code that is shipped: its packing, the shapes of its tiles, its tails.
#pragma once
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#define __AVX512BF16__ 1

static inline float software_widened(uint16_t half) {
  uint32_t bits = (uint32_t)half << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// The instructions add the odd ones of pairs first, and round in between.
static inline float software_pair(float sum, const uint16_t* a, const uint16_t* b) {
  sum = std::fma(software_widened(a[1]), software_widened(b[1]), sum);
  return std::fma(software_widened(a[0]), software_widened(b[0]), sum);
}
static inline __m512 software_dpbf16(__m512 sums, __m512i a, __m512i b) {
  float s[16];
  uint16_t x[32], y[32];
  std::memcpy(s, &sums, 64), std::memcpy(x, &a, 64), std::memcpy(y, &b, 64);
  for (int l = 0; l < 16; l++) s[l] = software_pair(s[l], x + 2 * l, y + 2 * l);
  std::memcpy(&sums, s, 64);
  return sums;
}
#undef _mm512_dpbf16_ps
#define _mm512_dpbf16_ps(sums, a, b) software_dpbf16(sums, (__m512i)(a), (__m512i)(b))

#ifdef SOFTWARE_TILES
#define __AMX_BF16__ 1

struct SoftwareTiles {
  int rows[8] = {}, bytes[8] = {};
  uint8_t at[8][16][64];
};
static thread_local SoftwareTiles software_tiles;

// The processor faults on shapes beyond 16 rows of 64 bytes, on tiles without a shape, and on factors that do not fit.
static inline void software_fault_unless(bool fine) {
  if (!fine) std::abort();
}
static inline void software_shape(int tile) {
  software_fault_unless(software_tiles.rows[tile] > 0 && software_tiles.bytes[tile] > 0);
}
static inline void software_loadconfig(const void* config) {
  const uint8_t* at = (const uint8_t*)config;
  software_fault_unless(at[0] == 1 && at[1] == 0);
  for (int i = 0; i < 8; i++) {
    uint16_t bytes;
    std::memcpy(&bytes, at + 16 + 2 * i, sizeof bytes);
    software_tiles.bytes[i] = bytes, software_tiles.rows[i] = at[48 + i];
    software_fault_unless(bytes <= 64 && at[48 + i] <= 16 && (bytes == 0) == (at[48 + i] == 0));
  }
  std::memset(software_tiles.at, 0, sizeof software_tiles.at);
}
static inline void software_release() { software_tiles = SoftwareTiles(); }
static inline void software_zero(int tile) {
  software_shape(tile);
  std::memset(software_tiles.at[tile], 0, sizeof software_tiles.at[tile]);
}
static inline void software_loadd(int tile, const void* base, int64_t stride) {
  software_zero(tile);
  for (int r = 0; r < software_tiles.rows[tile]; r++)
    std::memcpy(software_tiles.at[tile][r], (const uint8_t*)base + r * stride, software_tiles.bytes[tile]);
}
static inline void software_stored(int tile, void* base, int64_t stride) {
  software_shape(tile);
  for (int r = 0; r < software_tiles.rows[tile]; r++)
    std::memcpy((uint8_t*)base + r * stride, software_tiles.at[tile][r], software_tiles.bytes[tile]);
}
static inline void software_dpbf16ps(int sums, int a, int b) {
  SoftwareTiles& t = software_tiles;
  for (int tile : {sums, a, b}) software_shape(tile);
  software_fault_unless(t.rows[sums] == t.rows[a] && t.bytes[sums] == t.bytes[b] && t.bytes[a] == 4 * t.rows[b]);
  for (int m = 0; m < t.rows[a]; m++)
    for (int k = 0; k < t.rows[b]; k++)
      for (int n = 0; n < t.bytes[sums] / 4; n++) {
        float sum;
        uint16_t x[2], y[2];
        std::memcpy(&sum, t.at[sums][m] + 4 * n, 4), std::memcpy(x, t.at[a][m] + 4 * k, 4), std::memcpy(y, t.at[b][k] + 4 * n, 4);
        sum = software_pair(sum, x, y);
        std::memcpy(t.at[sums][m] + 4 * n, &sum, 4);
      }
}
#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig software_loadconfig
#define _tile_release software_release
#define _tile_zero software_zero
#define _tile_loadd software_loadd
#define _tile_stored software_stored
#define _tile_dpbf16ps software_dpbf16ps
#define syscall(...) 0
#endif
