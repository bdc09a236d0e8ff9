/* For x86-64 processors with AVX-512. */
#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma")
#endif

#define LANES 16
#include "train.h"

const ep_variant ep_avx512 = {"AVX-512", train, score, floats, pack, unpack, choose_rows};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
