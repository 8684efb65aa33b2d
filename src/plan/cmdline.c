/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/cmdline.h"
#include "basic/macro.h"
#include "basic/root-fs.h"

DEFINE_CLEANUP(char **, strv_free);

static const char *const own_keys[] = {
        "dmem",
        "hugepages",
        "hugepagesz",
        "hugetlb_free_vmemmap",
};

/* A word where it stands: [start, end), its quotes included. */
typedef struct Word {
        const char *start, *end;
        bool open; /* the line ends within its quotes, so it swallows whatever is put behind it */
} Word;

/* isspace() of lib/ctype.c in the kernel: ASCII, and the no-break space of Latin-1. */
static bool is_blank(char c) {
        return c == ' ' || (c >= '\t' && c <= '\r') || (unsigned char)c == 0xa0;
}

/* Moves *p past the next word. Returns false, and *p at the end, when there is none. */
static bool next_word(const char **p, Word *ret) {
        bool in_quote = false;
        const char *c = *p;

        while (is_blank(*c))
                c++;
        *p = c;
        if (*c == '\0')
                return false;
        for (; *c != '\0' && (in_quote || !is_blank(*c)); c++)
                if (*c == '"')
                        in_quote = !in_quote;

        *ret = (Word){ .start = *p, .end = c, .open = in_quote };
        *p = c;
        return true;
}

/* The first `=` that has something before it, or NULL. */
static const char *find_equals(const char *start, const char *end) {
        return end - start > 1 ? memchr(start + 1, '=', (size_t)(end - start - 1)) : NULL;
}

/*
 * What the kernel makes of a word: one pair of quotes goes, around all of it or around the value;
 * quotes in the middle protect blanks and stay. NULL when there is no memory.
 */
static char *unquote(const Word *word) {
        bool quoted = *word->start == '"';
        const char *start = word->start + quoted, *end = word->end;
        const char *equals = find_equals(start, end), *value = equals ? equals + 1 : end;
        size_t n_key = (size_t)(value - start), n_value;
        char *text;

        if (value < end && *value == '"') {
                value++;
                quoted = end[-1] == '"';
        }
        if (quoted && end > start && end[-1] == '"') {
                end--;
                if (!equals)
                        n_key = (size_t)(end - start);
        }
        n_value = equals && end > value ? (size_t)(end - value) : 0;

        text = new0(char, n_key + n_value + 1);
        if (!text)
                return NULL;
        memcpy(text, start, n_key);
        memcpy(text + n_key, value, n_value);
        return text;
}

/* The kernel takes `-` and `_` in the name of a parameter for the same, see parameq(). */
static bool key_equals(const char *key, size_t length, const char *name) {
        if (strlen(name) != length)
                return false;
        for (size_t i = 0; i < length; i++)
                if ((key[i] == '-' ? '_' : key[i]) != name[i])
                        return false;
        return true;
}

/* The name as we write it, if the word from @start on is ours; else NULL. */
static const char *find_own_key(const char *start, const char *end) {
        const char *equals;

        if (start < end && *start == '"')
                start++;
        equals = find_equals(start, end);
        for (size_t i = 0; equals && i < ELEMENTSOF(own_keys); i++)
                if (key_equals(start, (size_t)(equals - start), own_keys[i]))
                        return own_keys[i];
        return NULL;
}

/* A bare `--`, also in quotes: the kernel reads nothing from here on. */
static bool is_separator(const Word *word) {
        size_t length = (size_t)(word->end - word->start);

        return (length == 2 && memcmp(word->start, "--", 2) == 0) ||
               (length == 4 && memcmp(word->start, "\"--\"", 4) == 0) ||
               (length == 3 && memcmp(word->start, "\"--", 3) == 0);
}

bool cmdline_has_separator(const char *cmdline) {
        Word word;

        while (next_word(&cmdline, &word))
                if (is_separator(&word))
                        return true;
        return false;
}

bool cmdline_word_is_ours(const char *word) {
        return find_own_key(word, word + strlen(word)) != NULL;
}

static int append(char ***words, size_t *n, char *word) {
        char **grown;

        grown = reallocarray(*words, *n + 2, sizeof(char *));
        if (!grown) {
                free(word);
                return -ENOMEM;
        }
        *words = grown;
        grown[(*n)++] = word;
        grown[*n] = NULL;
        return 0;
}

int cmdline_extract(const char *cmdline, char ***ret) {
        _cleanup_(strv_freep) char **own = NULL;
        size_t n = 0;
        Word word;
        int r;

        own = new0(char *, 1);
        if (!own)
                return -ENOMEM;
        while (next_word(&cmdline, &word) && !is_separator(&word)) {
                const char *key = find_own_key(word.start, word.end);
                char *text;

                if (!key)
                        continue;
                text = unquote(&word);
                if (!text)
                        return -ENOMEM;
                memcpy(text, key, strlen(key));
                r = append(&own, &n, text);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(own);
        return 0;
}

/* Is @raw, put on a command line, one word that the kernel reads as @text? 1, 0 or -ENOMEM. */
static int reads_as(const char *raw, const char *text) {
        _cleanup_free_ char *unquoted = NULL;
        const char *p = raw;
        Word word;

        if (!next_word(&p, &word) || word.start != raw || *word.end != '\0' || word.open)
                return 0;
        unquoted = unquote(&word);
        if (!unquoted)
                return -ENOMEM;
        return streq(unquoted, text);
}

static int print_argument(FILE *f, const char *text);

static int print_without_quotes(FILE *f, const char *text) {
        _cleanup_free_ char *bare = strdup(text);
        char *to = bare;

        if (!bare)
                return -ENOMEM;
        for (; *text != '\0'; text++)
                if (*text != '"')
                        *to++ = *text;
        *to = '\0';
        return print_argument(f, bare);
}

/*
 * Writes one argument so that the kernel reads it back: bare if possible, else with its value or
 * all of it in quotes; a lone quote at the start is for texts with an odd number of quotes. Some
 * texts with quotes only the end of a line can hold, where no quote has to end: those lose them.
 */
static int print_argument(FILE *f, const char *text) {
        int n_key = (int)strcspn(text, "=");
        const char *value = text[n_key] == '=' ? text + n_key + 1 : "";

        for (unsigned form = 0; form < 4; form++) {
                _cleanup_free_ char *raw = NULL;
                int r;

                r = form == 0   ? asprintf(&raw, "%s", text)
                    : form == 1 ? asprintf(&raw, "%.*s=\"%s\"", n_key, text, value)
                    : form == 2 ? asprintf(&raw, "\"%s\"", text)
                                : asprintf(&raw, "\"%s", text);
                if (r < 0)
                        return -ENOMEM;
                r = reads_as(raw, text);
                if (r < 0)
                        return r;
                if (r > 0) {
                        fprintf(f, "%s", raw);
                        return 0;
                }
        }
        return print_without_quotes(f, text);
}

char *arguments_join(char *const *arguments) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r = 0;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        for (size_t i = 0; r >= 0 && arguments && arguments[i]; i++) {
                if (i > 0)
                        fputc(' ', f);
                r = print_argument(f, arguments[i]);
        }
        if (fclose(f) != 0 || r < 0)
                return NULL;
        return TAKE_PTR(text);
}

bool arguments_equal(char *const *a, char *const *b) {
        size_t n = strv_length(a);

        if (strv_length(b) != n)
                return false;
        for (size_t i = 0; i < n; i++)
                if (!streq(a[i], b[i]))
                        return false;
        return true;
}

static void print_range(FILE *f, const char *start, const char *end) {
        (void)fwrite(start, 1, (size_t)(end - start), f);
}

/*
 * Writes @cmdline with @joined in the place of our words; NULL takes them out. A word that goes
 * takes the blanks before it along, the first word of the line those behind it.
 */
static void print_replaced(FILE *f, const char *cmdline, const char *joined) {
        const char *done = cmdline; /* all before it is written or dropped */
        bool at_start = true, drop_blanks = false, separator = false;
        Word word = { .start = cmdline, .end = cmdline };

        for (const char *p = cmdline; next_word(&p, &word); done = word.end) {
                bool ours;

                separator = is_separator(&word);
                if (separator)
                        break;
                ours = find_own_key(word.start, word.end) != NULL;
                if (ours && !joined) {
                        if (at_start && !drop_blanks)
                                print_range(f, done, word.start);
                        drop_blanks = at_start;
                        continue;
                }
                if (!drop_blanks)
                        print_range(f, done, word.start);
                /* Nothing can follow an open word, so what we add goes before it. */
                if (joined && (ours || word.open)) {
                        fprintf(f, ours ? "%s" : "%s ", joined);
                        joined = NULL;
                }
                if (!ours)
                        print_range(f, word.start, word.end);
                at_start = drop_blanks = false;
        }

        if (joined && at_start) {
                print_range(f, done, word.start);
                fprintf(f, separator ? "%s " : "%s", joined);
                done = word.start;
        } else if (joined)
                fprintf(f, " %s", joined);
        else if (drop_blanks && separator)
                done = word.start;
        fprintf(f, "%s", done);
}

int cmdline_replace(const char *cmdline, char *const *arguments, char **ret) {
        _cleanup_free_ char *joined = NULL, *text = NULL;
        size_t size;
        FILE *f;

        joined = arguments_join(arguments);
        if (!joined)
                return -ENOMEM;
        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        print_replaced(f, cmdline, *joined ? joined : NULL);
        if (fclose(f) != 0)
                return -ENOMEM;

        *ret = TAKE_PTR(text);
        return 0;
}
