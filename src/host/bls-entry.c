/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/bls-entry.h"
#include "basic/macro.h"
#include "basic/root-fs.h"
#include "plan/cmdline.h"

DEFINE_CLEANUP(char **, strv_free);

/* One line where it stands in the text. */
typedef struct Line {
        const char *start;
        const char *key, *key_end;     /* both NULL for a comment */
        const char *value, *value_end; /* blanks at the end belong to it, the line's end does not */
        const char *next;              /* behind the newline */
        unsigned number;
} Line;

static bool is_blank(char c) {
        return c == ' ' || c == '\t';
}

/* Moves *p behind the next line. Returns false at the end of the text. */
static bool next_line(const char **p, unsigned number, Line *ret) {
        Line line = { .start = *p, .number = number };
        const char *end, *c;

        if (**p == '\0')
                return false;
        end = line.start + strcspn(line.start, "\n");
        line.next = *end == '\n' ? end + 1 : end;
        while (end > line.start && end[-1] == '\r')
                end--;
        for (c = line.start; c < end && is_blank(*c); c++)
                ;
        if (c == end || *c != '#') {
                line.key = c;
                while (c < end && !is_blank(*c))
                        c++;
                line.key_end = c;
                while (c < end && is_blank(*c))
                        c++;
        }
        line.value = c;
        line.value_end = end;
        *p = line.next;
        *ret = line;
        return true;
}

static bool key_is(const Line *line, const char *key) {
        size_t length = strlen(key);

        return line->key && (size_t)(line->key_end - line->key) == length &&
               memcmp(line->key, key, length) == 0;
}

/* GRUB stops reading at a line that has no value; a comment is no such line. */
static bool ends_entry(const Line *line, BlsReader reader) {
        return reader == BLS_READER_GRUB && line->key && line->value == line->value_end;
}

static char *line_value(const Line *line) {
        return strndup(line->value, (size_t)(line->value_end - line->value));
}

void bls_entry_done(BlsEntry *entry) {
        free(entry->title);
        free(entry->version);
        free(entry->machine_id);
        free(entry->sort_key);
        free(entry->kernel);
        free(entry->image);
        free(entry->options);
        *entry = (BlsEntry){ 0 };
}

static int take_options(BlsEntry *entry, const Line *line, BlsReader reader) {
        _cleanup_free_ char *before = entry->options;
        size_t length = (size_t)(line->value_end - line->value);

        if (!before)
                entry->options_line = line->number;
        else if (reader == BLS_READER_GRUB) {
                TAKE_PTR(before);
                return 0;
        }
        entry->options = NULL;
        if (asprintf(&entry->options, "%s%s%.*s", before ? before : "", before ? " " : "",
                     (int)length, line->value) < 0) {
                entry->options = NULL;
                return -ENOMEM;
        }
        return 0;
}

/* Of a key that comes twice GRUB takes the first, systemd-boot the last. */
static int take_key(BlsEntry *entry, const Line *line, BlsReader reader) {
        struct {
                const char *key;
                char **value;
        } const keys[] = {
                { "title", &entry->title },           { "version", &entry->version },
                { "machine-id", &entry->machine_id }, { "sort-key", &entry->sort_key },
                { "linux", &entry->kernel },          { "uki", &entry->image },
        };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                char *value;
                size_t length;

                if (!key_is(line, keys[i].key) || (*keys[i].value && reader == BLS_READER_GRUB))
                        continue;
                value = line_value(line);
                if (!value)
                        return -ENOMEM;
                for (length = strlen(value); length > 0 && is_blank(value[length - 1]); length--)
                        value[length - 1] = '\0';
                free(*keys[i].value);
                *keys[i].value = value;
                if (streq(keys[i].key, "linux") && !entry->options)
                        entry->options_line = line->number;
        }
        return 0;
}

int bls_entry_parse(const char *text, BlsReader reader, BlsEntry *ret) {
        _cleanup_(bls_entry_done) BlsEntry entry = { 0 };
        unsigned number = 1;
        Line line;

        for (const char *p = text; next_line(&p, number, &line); number++) {
                int r;

                if (ends_entry(&line, reader))
                        break;
                r = key_is(&line, "options") ? take_options(&entry, &line, reader)
                                             : take_key(&entry, &line, reader);
                if (r < 0)
                        return r;
        }
        *ret = entry;
        entry = (BlsEntry){ 0 };
        return 0;
}

/* What replacing needs to know before it begins. */
typedef struct Places {
        unsigned options;     /* line that gets our arguments; 0: there is none */
        unsigned kernel;      /* line behind which a line of options may go; 0: at the end */
        unsigned end;         /* line at which the reader stops; 0: none */
        unsigned behind_init; /* lines from here on are for init, not for the kernel; 0: none */
} Places;

static int find_places(const char *text, BlsReader reader, Places *ret) {
        bool has_own = false;
        unsigned number = 1;
        Line line;

        for (const char *p = text; next_line(&p, number, &line); number++) {
                _cleanup_(strv_freep) char **own = NULL;
                _cleanup_free_ char *value = NULL;
                int r;

                if (ends_entry(&line, reader)) {
                        ret->end = number;
                        break;
                }
                if (key_is(&line, "linux"))
                        ret->kernel = number;
                if (!key_is(&line, "options") || ret->behind_init)
                        continue;
                value = line_value(&line);
                r = value ? cmdline_extract(value, &own) : -ENOMEM;
                if (r < 0)
                        return r;
                if (!ret->options || (!has_own && own[0] && reader == BLS_READER_SYSTEMD_BOOT))
                        ret->options = number;
                has_own = has_own || own[0];
                if (reader == BLS_READER_SYSTEMD_BOOT && cmdline_has_separator(value))
                        ret->behind_init = number + 1;
        }
        return 0;
}

static void print(FILE *f, const char *start, const char *end) {
        (void)fwrite(start, 1, (size_t)(end - start), f);
}

static int print_options(FILE *f, const Line *line, char *const *arguments) {
        _cleanup_free_ char *value = NULL, *replaced = NULL;
        bool was_empty;
        int r;

        value = line_value(line);
        if (!value)
                return -ENOMEM;
        r = cmdline_replace(value, arguments, &replaced);
        if (r < 0)
                return r;
        was_empty = value[strspn(value, " \t")] == '\0';
        if (!was_empty && replaced[strspn(replaced, " \t")] == '\0')
                return 0;
        print(f, line->start, line->value);
        if (line->value == line->key_end && *replaced != '\0')
                fputc(' ', f);
        fprintf(f, "%s", replaced);
        print(f, line->value_end, line->next);
        return 0;
}

/* A line of its own, with the line end that @line has. */
static int print_new_options(FILE *f, const Line *line, char *const *arguments, const char *base) {
        _cleanup_free_ char *joined = arguments_join(arguments);
        bool whole = line->next > line->value_end && line->next[-1] == '\n';

        if (!joined)
                return -ENOMEM;
        if (!whole)
                fputc('\n', f);
        fprintf(f, "options %s%s%s", base ? base : "", base ? " " : "", joined);
        if (whole)
                print(f, line->value_end, line->next);
        return 0;
}

static int print_replaced(FILE *f, const char *text, BlsReader reader, const Places *places,
                          char *const *arguments, const char *base) {
        static char *const none[] = { NULL };
        unsigned number = 1;
        Line line;

        for (const char *p = text; next_line(&p, number, &line); number++) {
                int r = 0;

                if (!key_is(&line, "options") || (places->end && number >= places->end) ||
                    (places->behind_init && number >= places->behind_init))
                        print(f, line.start, line.next);
                else
                        r = print_options(f, &line, number == places->options ? arguments : none);
                if (r >= 0 && !places->options && arguments[0] && number == places->kernel)
                        r = print_new_options(f, &line, arguments, base);
                if (r < 0)
                        return r;
        }
        return 0;
}

int bls_entry_replace(const char *text, BlsReader reader, char *const *arguments, const char *base,
                      char **ret) {
        _cleanup_free_ char *replaced = NULL;
        Places places = { 0 };
        size_t size;
        FILE *f;
        int r;

        r = find_places(text, reader, &places);
        if (r < 0)
                return r;
        f = open_memstream(&replaced, &size);
        if (!f)
                return -ENOMEM;
        r = print_replaced(f, text, reader, &places, arguments, base);
        if (fclose(f) != 0 || r < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(replaced);
        return 0;
}

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Characters that separate nothing but the parts of a version. */
static const char *skip_filling(const char *p) {
        while (*p != '\0' && !is_digit(*p) && !is_letter(*p) && !strchr("~-^.", *p))
                p++;
        return p;
}

static int compare_numbers(const char **a, const char **b) {
        size_t n_a, n_b;
        int r;

        *a += strspn(*a, "0");
        *b += strspn(*b, "0");
        n_a = strspn(*a, "0123456789");
        n_b = strspn(*b, "0123456789");
        r = n_a != n_b ? (n_a > n_b ? 1 : -1) : memcmp(*a, *b, n_a);
        *a += n_a;
        *b += n_b;
        return r;
}

/* Capital letters are older than small ones, which ASCII has in this order. */
static int compare_letters(const char **a, const char **b) {
        size_t n_a = 0, n_b = 0;
        int r;

        while (is_letter((*a)[n_a]))
                n_a++;
        while (is_letter((*b)[n_b]))
                n_b++;
        r = memcmp(*a, *b, n_a < n_b ? n_a : n_b);
        if (r == 0)
                r = (n_a > n_b) - (n_a < n_b);
        *a += n_a;
        *b += n_b;
        return r;
}

int bls_version_compare(const char *a, const char *b) {
        /* From the oldest on: 1~rc1 < 1 < 1-2 < 1^patch < 1.1 */
        static const char separators[] = "~-^.";

        if (!a || !b)
                return (a != NULL) - (b != NULL);
        for (;;) {
                int r;

                a = skip_filling(a);
                b = skip_filling(b);
                if (*a == '\0' && *b == '\0')
                        return 0;
                if (*a == '~' || *b == '~') {
                        if (*a != '~' || *b != '~')
                                return *a == '~' ? -1 : 1;
                        a++;
                        b++;
                        continue;
                }
                if (*a == '\0' || *b == '\0')
                        return *a == '\0' ? -1 : 1;
                for (const char *s = separators + 1; *s != '\0'; s++) {
                        if (*a != *s && *b != *s)
                                continue;
                        if (*a != *s || *b != *s)
                                return *a == *s ? -1 : 1;
                        a++;
                        b++;
                        break;
                }
                a = skip_filling(a);
                b = skip_filling(b);
                if (is_digit(*a) || is_digit(*b))
                        r = compare_numbers(&a, &b);
                else
                        r = compare_letters(&a, &b);
                if (r != 0)
                        return r;
        }
}

char *bls_entry_id(const char *file_name, bool *ret_bad) {
        char *id = strdup(file_name), *plus, *end;
        size_t n_left, n_done = 0;

        *ret_bad = false;
        if (!id)
                return NULL;
        end = strrchr(id, '.');
        if (end)
                *end = '\0';
        plus = strrchr(id, '+');
        if (!plus)
                return id;
        n_left = strspn(plus + 1, "0123456789");
        if (plus[1 + n_left] == '-')
                n_done = 1 + strspn(plus + 2 + n_left, "0123456789");
        if (n_left == 0 || n_done == 1 || plus[1 + n_left + n_done] != '\0')
                return id; /* a plus sign of the version */
        *ret_bad = strspn(plus + 1, "0") == n_left;
        *plus = '\0';
        return id;
}

int bls_loader_default(const char *text, char **ret) {
        _cleanup_free_ char *value = NULL;
        Line line;

        for (const char *p = text; next_line(&p, 0, &line);) {
                if (!key_is(&line, "default"))
                        continue;
                free(value);
                value = line_value(&line);
                if (!value)
                        return -ENOMEM;
                value[strcspn(value, " \t")] = '\0';
        }
        if (!value || *value == '\0')
                return -ENOENT;
        *ret = TAKE_PTR(value);
        return 0;
}
