/* Chooses the build for this processor, once, and forwards to it. */
#include "kernel.h"

extern const ep_variant ep_generic;

#if defined(__x86_64__)

#include <immintrin.h>

extern const ep_variant ep_avx2, ep_avx512;

static const ep_variant *variant(void) {
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return &ep_avx512;
    if (avx2) return &ep_avx2;
    return &ep_generic;
}

/* Gradients that fade away below 1e-38 would slow every sum that they are in many times over;
 * they are taken as zero, as XLA does. The mode belongs to the thread and is put back. */
typedef unsigned int float_mode;

static float_mode flush_tiny(void) {
    const float_mode before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
}

static void put_back(float_mode mode) { _mm_setcsr(mode); }

#else

static const ep_variant *variant(void) { return &ep_generic; }

#if defined(__aarch64__)

typedef uint64_t float_mode;

static float_mode flush_tiny(void) {
    float_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (float_mode)1 << 24));
    return before;
}

static void put_back(float_mode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }

#else

typedef int float_mode;

static float_mode flush_tiny(void) { return 0; }

static void put_back(float_mode mode) { (void)mode; }

#endif
#endif

int ep_train(ep_member *member) {
    const float_mode mode = flush_tiny();
    const int status = variant()->train(member);
    put_back(mode);
    return status;
}

int ep_score(ep_member *member, ep_scores *scores) {
    const float_mode mode = flush_tiny();
    const int status = variant()->score(member, scores);
    put_back(mode);
    return status;
}

int64_t ep_floats(int32_t rows, int32_t columns) { return variant()->floats(rows, columns); }

void ep_pack(const float *plain, int32_t rows, int32_t columns, float *panels) {
    variant()->pack(plain, rows, columns, panels);
}

void ep_unpack(const float *panels, int32_t rows, int32_t columns, float *plain) {
    variant()->unpack(panels, rows, columns, plain);
}

void ep_choose(const float *rows, const int64_t *chosen, int32_t count, int32_t columns,
               float *to) {
    variant()->choose(rows, chosen, count, columns, to);
}

const char *ep_instructions(void) { return variant()->instructions; }

int64_t ep_interface(void) {
    return EP_VERSION * 1000000 + (int64_t)(sizeof(ep_layer) * 1000 + sizeof(ep_member));
}
