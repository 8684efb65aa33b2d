/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A unit test is a file of TEST()s that ends with TEST_MAIN()
 *
 * EXPECT_… take a label that names the row (usually the input), compare, print what differs and go
 * on, so that one run shows all failures. The process exits 1 if anything failed, 77 if TEST_SKIP()
 * was called and nothing failed.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/macro.h"

static unsigned test_failures;
static unsigned test_checks;
static const char *test_skip_reason;

typedef struct TestCase {
        const char *name;
        void (*run)(void);
        struct TestCase *next;
} TestCase;

static TestCase *test_cases, **test_cases_end = &test_cases;

#define TEST(id)                                                                                   \
        static void test_##id(void);                                                               \
        static TestCase test_case_##id = { .name = #id, .run = test_##id };                        \
        __attribute__((__constructor__)) static void test_register_##id(void) {                    \
                *test_cases_end = &test_case_##id;                                                 \
                test_cases_end = &test_case_##id.next;                                             \
        }                                                                                          \
        static void test_##id(void)

static inline void test_compare(const char *file, int line, const char *label, const char *what,
                                intmax_t got, intmax_t expected) {
        test_checks++;
        if (got == expected)
                return;
        test_failures++;
        fprintf(stderr, "%s:%d: [%s] %s is %" PRIdMAX ", expected %" PRIdMAX "\n", file, line,
                label, what, got, expected);
}

static inline void test_compare_text(const char *file, int line, const char *label,
                                     const char *what, const char *got, const char *expected) {
        test_checks++;
        if (got == expected || (got && expected && strcmp(got, expected) == 0))
                return;
        test_failures++;
        fprintf(stderr, "%s:%d: [%s] %s is\n  %s\nexpected\n  %s\n", file, line, label, what,
                got ? got : "(none)", expected ? expected : "(none)");
}

#define EXPECT_EQ(label, got, expected)                                                            \
        test_compare(__FILE__, __LINE__, (label), #got, (intmax_t)(got), (intmax_t)(expected))
#define EXPECT_STREQ(label, got, expected)                                                         \
        test_compare_text(__FILE__, __LINE__, (label), #got, (got), (expected))
#define EXPECT_TRUE(label, condition)                                                              \
        test_compare(__FILE__, __LINE__, (label), #condition, !!(condition), 1)

/* Ends the test case: what it needs is not there. */
#define TEST_SKIP(reason)                                                                          \
        do {                                                                                       \
                test_skip_reason = (reason);                                                       \
                return;                                                                            \
        } while (0)

#define TEST_MAIN()                                                                                \
        int main(void) {                                                                           \
                for (TestCase *t = test_cases; t; t = t->next) {                                   \
                        unsigned before = test_failures;                                           \
                                                                                                   \
                        t->run();                                                                  \
                        printf("%s %s\n", test_failures == before ? "ok  " : "FAIL", t->name);     \
                }                                                                                  \
                printf("%u checks, %u failures\n", test_checks, test_failures);                    \
                if (test_failures > 0)                                                             \
                        return EXIT_FAILURE;                                                       \
                if (test_skip_reason) {                                                            \
                        printf("skipped: %s\n", test_skip_reason);                                 \
                        return 77;                                                                 \
                }                                                                                  \
                return test_checks > 0 ? EXIT_SUCCESS : EXIT_FAILURE;                              \
        }
