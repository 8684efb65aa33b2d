/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/host-file.h"
#include "basic/macro.h"
#include "basic/root-fs.h"
#include "basic/size-util.h"

DEFINE_CLEANUP(char **, strv_free);

/* These are about us and not about the file. */
static bool is_our_own(int error) {
        return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -EBADF;
}

int host_read_fact(int root_fd, const char *path, char **ret) {
        char *text;
        int r;

        r = root_read_file(root_fd, path, &text, NULL);
        if (r < 0) {
                if (is_our_own(r))
                        return r;
                *ret = NULL;
                return 0;
        }
        if (*text == '\0') {
                free(text);
                text = NULL;
        }
        *ret = text;
        return 0;
}

int host_read_fact_u64(int root_fd, const char *path, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = root_read_text(root_fd, path, &text);
        if (r < 0)
                return is_our_own(r) ? r : 0;
        return parse_u64(text, ret) < 0 ? 0 : 1;
}

int host_file_has_line(int root_fd, const char *path, const char *prefix) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = root_read_file(root_fd, path, &text, NULL);
        if (r < 0)
                return r;
        for (char *line = text; line; line = strchr(line, '\n')) {
                line += strspn(line, " \t\n");
                if (startswith(line, prefix))
                        return 1;
        }
        return 0;
}

static int compare_numbers(const void *a, const void *b) {
        const unsigned *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

int host_list_numbers(int root_fd, const char *path, const char *prefix, unsigned **ret,
                      size_t *ret_n) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_free_ unsigned *numbers = NULL;
        size_t n = 0;
        int r;

        r = root_list(root_fd, path, prefix, &names);
        if (r < 0 && is_our_own(r))
                return r;
        numbers = new0(unsigned, strv_length(names) + 1);
        if (!numbers)
                return -ENOMEM;
        for (char **name = names; name && *name; name++) {
                const char *digits = *name + strlen(prefix);

                if ((digits[0] != '0' || digits[1] == '\0') &&
                    parse_unsigned(digits, &numbers[n]) >= 0)
                        n++;
        }
        qsort(numbers, n, sizeof(unsigned), compare_numbers);

        *ret = TAKE_PTR(numbers);
        *ret_n = n;
        return 0;
}
