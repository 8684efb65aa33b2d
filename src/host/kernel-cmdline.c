/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/kernel-cmdline.h"
#include "basic/macro.h"
#include "basic/root-fs.h"
#include "plan/cmdline.h"

DEFINE_CLEANUP(char **, strv_free);

#define BLANKS " \t\r\n\v\f"

static size_t line_length(const char *line) {
        size_t length = strcspn(line, "\n");

        return line[length] == '\n' ? length + 1 : length;
}

/* Neither a comment nor empty. */
static bool has_words(const char *line, size_t length) {
        size_t blanks = strspn(line, " \t\r\v\f");

        return blanks < length && line[blanks] != '\n' && line[blanks] != '#';
}

int kernel_cmdline_join(const char *text, char **ret) {
        _cleanup_free_ char *joined = new0(char, strlen(text) + 1);
        char *to = joined;

        if (!joined)
                return -ENOMEM;
        for (size_t length; (length = line_length(text)) > 0; text += length)
                if (has_words(text, length)) {
                        memcpy(to, text, length);
                        to += length;
                }
        for (char *c = joined; *c != '\0'; c++)
                if (strchr(BLANKS, *c))
                        *c = ' ';
        *ret = TAKE_PTR(joined);
        return 0;
}

/* Which line our arguments go to: that of the first ones, of `--`, or the last one with words. */
static int find_target(const char *text, const char **ret_target, const char **ret_end) {
        const char *target = NULL, *own_target = NULL, *end = NULL;

        for (size_t length; !end && (length = line_length(text)) > 0; text += length) {
                _cleanup_(strv_freep) char **own = NULL;
                _cleanup_free_ char *line = NULL;
                int r;

                if (!has_words(text, length))
                        continue;
                line = strndup(text, strcspn(text, "\n"));
                r = line ? cmdline_extract(line, &own) : -ENOMEM;
                if (r < 0)
                        return r;
                target = text;
                if (own[0] && !own_target)
                        own_target = text;
                if (cmdline_has_separator(line))
                        end = text + length;
        }
        *ret_target = own_target ? own_target : target;
        *ret_end = end;
        return 0;
}

static int print_replaced(FILE *f, const char *text, char *const *arguments) {
        static char *const none[] = { NULL };
        const char *target, *end, *last = text;
        int r;

        r = find_target(text, &target, &end);
        if (r < 0)
                return r;
        for (size_t length; (length = line_length(text)) > 0; text += length) {
                _cleanup_free_ char *line = NULL, *replaced = NULL;

                last = text + length - 1;
                if (!has_words(text, length) || (end && text >= end)) {
                        (void)fwrite(text, 1, length, f);
                        continue;
                }
                line = strndup(text, strcspn(text, "\n"));
                r = line ? cmdline_replace(line, text == target ? arguments : none, &replaced)
                         : -ENOMEM;
                if (r < 0)
                        return r;
                fprintf(f, "%s%s", replaced, *last == '\n' ? "\n" : "");
        }
        if (!target && arguments[0]) {
                _cleanup_free_ char *joined = arguments_join(arguments);

                if (!joined)
                        return -ENOMEM;
                fprintf(f, "%s%s\n", *last != '\0' && *last != '\n' ? "\n" : "", joined);
        }
        return 0;
}

int kernel_cmdline_replace(const char *text, char *const *arguments, char **ret) {
        _cleanup_free_ char *replaced = NULL;
        size_t size;
        FILE *f;
        int r;

        f = open_memstream(&replaced, &size);
        if (!f)
                return -ENOMEM;
        r = print_replaced(f, text, arguments);
        if (fclose(f) != 0 || r < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(replaced);
        return 0;
}

static bool is_of_one_entry(const char *word, size_t length) {
        static const char *const prefixes[] = { "initrd=", "BOOT_IMAGE=", "systemd.machine_id=",
                                                "$" };

        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++)
                if (length >= strlen(prefixes[i]) && startswith(word, prefixes[i]))
                        return true;
        return false;
}

int kernel_cmdline_from_options(const char *options, char **ret) {
        static char *const none[] = { NULL };
        _cleanup_free_ char *clean = NULL, *text = NULL;
        char *to;
        int r;

        r = cmdline_replace(options, none, &clean);
        if (r < 0)
                return r;
        text = new0(char, strlen(clean) + 2);
        if (!text)
                return -ENOMEM;
        to = text;
        for (const char *p = clean + strspn(clean, BLANKS); *p != '\0'; p += strspn(p, BLANKS)) {
                bool in_quote = false;
                size_t length = 0;

                for (; p[length] != '\0' && (in_quote || !strchr(BLANKS, p[length])); length++)
                        if (p[length] == '"')
                                in_quote = !in_quote;
                if (!is_of_one_entry(p, length)) {
                        if (to > text)
                                *to++ = ' ';
                        memcpy(to, p, length);
                        to += length;
                }
                p += length;
        }
        if (to > text)
                *to = '\n';
        *ret = TAKE_PTR(text);
        return 0;
}
