/* SPDX-License-Identifier: GPL-2.0 */
/*
 * check.h - the little that the programs in this folder need to be tests
 *
 * A failed CHECK() says where, which row and what, and the program goes on; main() returns
 * check_result(), which is the exit status.
 */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include <stdio.h>
#include <stdlib.h>

static unsigned long check_failures, check_count;

#define CHECK(label, condition, ...)							\
	do {										\
		check_count++;								\
		if (!(condition) && ++check_failures <= 20) {				\
			fprintf(stderr, "%s:%d: %s: failed: %s: ", __FILE__, __LINE__,	\
				label, #condition);					\
			fprintf(stderr, __VA_ARGS__);					\
			fputc('\n', stderr);						\
		}									\
	} while (0)

static inline int check_result(const char *name)
{
	printf("%s: %lu checks, %lu failed\n", name, check_count, check_failures);
	return check_failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
