/* For any processor: 4 floats a vector, which is NEON on ARM and SSE2 on x86-64. */
#define LANES 4
#include "train.h"

const ep_variant ep_generic = {"generic, 4 floats", train, score, floats, pack, unpack, choose_rows};
