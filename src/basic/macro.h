/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Macros that every file may use: sizes, ownership by scope, array length
 */

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KiB (UINT64_C(1) << 10)
#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)
#define TiB (UINT64_C(1) << 40)

#define ELEMENTSOF(array) (sizeof(array) / sizeof((array)[0]))

/* Zero-initialized memory for @n objects of @type, NULL when there is none. */
#define new0(type, n) ((type *)calloc((n), sizeof(type)))

/* Hands the pointer over: the variable is NULL afterwards, so its cleanup does nothing. */
#define TAKE_PTR(pointer)                                                                          \
        ({                                                                                         \
                typeof(pointer) *_pointer_ = &(pointer);                                           \
                typeof(pointer) _taken_ = *_pointer_;                                              \
                *_pointer_ = NULL;                                                                 \
                _taken_;                                                                           \
        })

/* The same for a file descriptor. */
#define TAKE_FD(fd)                                                                                \
        ({                                                                                         \
                int *_fd_ = &(fd);                                                                 \
                int _taken_ = *_fd_;                                                               \
                *_fd_ = -EBADF;                                                                    \
                _taken_;                                                                           \
        })

#define ASSERT_PTR(pointer)                                                                        \
        ({                                                                                         \
                typeof(pointer) _asserted_ = (pointer);                                            \
                assert(_asserted_);                                                                \
                _asserted_;                                                                        \
        })

/* Runs function(&variable) when the variable leaves its scope. */
#define _cleanup_(function) __attribute__((__cleanup__(function)))
#define _printf_(format, arguments) __attribute__((__format__(printf, format, arguments)))
#define _unused_ __attribute__((__unused__))

/* Defines functionp(), which calls function() on what the variable holds; for _cleanup_(). */
#define DEFINE_CLEANUP(type, function)                                                             \
        static inline void function##p(type *pointer) {                                            \
                if (*pointer)                                                                      \
                        function(*pointer);                                                        \
        }                                                                                          \
        struct _cleanup_swallows_the_semicolon_

static inline void freep(void *pointer) {
        free(*(void **)pointer);
}

static inline void closep(int *fd) {
        if (*fd >= 0)
                (void)close(*fd);
}

DEFINE_CLEANUP(FILE *, fclose);

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)

static inline bool streq(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

/* Returns what follows @prefix in @text, or NULL if @text does not start with it. */
static inline const char *startswith(const char *text, const char *prefix) {
        size_t length = strlen(prefix);

        return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}
