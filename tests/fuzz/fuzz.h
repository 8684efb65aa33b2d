/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A fuzz target is one file with LLVMFuzzerTestOneInput() and its seeds
 *
 * Built with `clang -fsanitize=fuzzer` it is a libFuzzer target as it stands. With main.c beside it
 * any compiler gives a program that runs over the files it is given or, without any, over mutations
 * of the seeds: the same ones on every machine, for about a second.
 *
 * FUZZ_EXPECT() is what holds for every input; a breach ends the program.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/macro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Inputs to start from, and the last is NULL. */
extern const char *const fuzz_seeds[];

#define FUZZ_EXPECT(condition)                                                                     \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);    \
                        abort();                                                                   \
                }                                                                                  \
        } while (0)

/* The input as a string in a buffer of its own, so that a read beyond its end is noticed. */
static inline char *fuzz_text(const uint8_t *data, size_t size) {
        char *text = malloc(size + 1);

        if (!text)
                abort();
        if (size > 0)
                memcpy(text, data, size);
        text[size] = '\0';
        return text;
}
