/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Table - rows of text whose columns line up
 *
 * Columns are as wide as their widest cell and two blanks apart; the last one may be of any length
 * and is not padded. Widths count characters that advance the cursor by one, which is all we print.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/macro.h"

#define TABLE_COLUMNS_MAX 16

typedef struct Table {
        size_t n_columns;
        unsigned left; /* bit i: column i is flush left; the others are flush right */
        char **cells;  /* row after row */
        size_t n_cells;
} Table;

void table_done(Table *t);

/* Appends one cell; @format as for printf(). Returns 0 or -ENOMEM. */
int table_add(Table *t, const char *format, ...) _printf_(2, 3);

/* How wide columns [0, @n) are, the blanks behind each included. */
size_t table_width(const Table *t, size_t n);

/* Prints the rows from @first on; @before and @after go around each line (colours). */
void table_print(const Table *t, size_t first, size_t n_rows, const char *before,
                 const char *after);
