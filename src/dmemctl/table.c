/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "dmemctl/table.h"

#define GAP 2

void table_done(Table *t) {
        for (size_t i = 0; i < t->n_cells; i++)
                free(t->cells[i]);
        free(t->cells);
        *t = (Table){};
}

int table_add(Table *t, const char *format, ...) {
        char **grown, *text;
        va_list ap;
        int r;

        assert(t->n_columns > 0 && t->n_columns <= TABLE_COLUMNS_MAX);
        grown = reallocarray(t->cells, t->n_cells + 1, sizeof(char *));
        if (!grown)
                return -ENOMEM;
        t->cells = grown;
        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0)
                return -ENOMEM;
        t->cells[t->n_cells++] = text;
        return 0;
}

/* Characters, not bytes: all that does not continue one in UTF-8. */
static size_t text_width(const char *text) {
        size_t n = 0;

        for (; *text; text++)
                n += ((unsigned char)*text & 0xc0) != 0x80;
        return n;
}

static size_t column_width(const Table *t, size_t column) {
        size_t widest = 0;

        for (size_t i = column; i < t->n_cells; i += t->n_columns) {
                size_t width = text_width(t->cells[i]);

                if (width > widest)
                        widest = width;
        }
        return widest;
}

size_t table_width(const Table *t, size_t n) {
        size_t width = 0;

        for (size_t i = 0; i < n; i++)
                width += column_width(t, i) + GAP;
        return width;
}

void table_print(const Table *t, size_t first, size_t n_rows, const char *before,
                 const char *after) {
        size_t widths[TABLE_COLUMNS_MAX];

        for (size_t i = 0; i < t->n_columns; i++)
                widths[i] = column_width(t, i);
        for (size_t row = first; row < first + n_rows; row++) {
                fputs(before, stdout);
                for (size_t i = 0; i < t->n_columns; i++) {
                        const char *cell = t->cells[row * t->n_columns + i];
                        int padding = (int)(widths[i] - text_width(cell));
                        bool left = t->left & (1U << i), last = i + 1 == t->n_columns;

                        if (last && cell[0] == '\0')
                                break;
                        printf("%*s%*s%s%*s", i > 0 ? GAP : 0, "", left ? 0 : padding, "", cell,
                               left && !last ? padding : 0, "");
                }
                printf("%s\n", after);
        }
}
