/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/grub-config.h"
#include "basic/macro.h"
#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "plan/cmdline.h"

/* Submenus in submenus and blocks in blocks; real files have two levels. */
#define DEPTH_MAX 32

/* COMMAND_LINE_SIZE of the architectures we plan for: a longer argument never reaches a kernel. */
#define ARGUMENT_MAX 4096

/* Enough of a word to see whether it is ours. */
#define KEY_MAX 40

/* Titles and ids of entries are shorter; what is longer is no name but some accident. */
#define NAME_LENGTH_MAX 4096

DEFINE_CLEANUP(char **, strv_free);

typedef enum TokenKind {
        TOKEN_WORD,
        TOKEN_END,   /* of a command: newline or one of ; & | */
        TOKEN_OPEN,  /* { */
        TOKEN_CLOSE, /* } */
        TOKEN_MARK, /* comment that begins or ends the output of a script; text is its path or "" */
        TOKEN_EOF,
} TokenKind;

typedef struct Token {
        TokenKind kind;
        char *text;
} Token;

typedef struct Lexer {
        const char *p, *end;
        unsigned line;
} Lexer;

/* A growing text. */
typedef struct Buffer {
        char *data;
        size_t size, room;
} Buffer;

static int buffer_put(Buffer *b, char c) {
        if (b->size + 2 > b->room) {
                size_t room = b->room == 0 ? 64 : b->room * 2;
                char *grown = realloc(b->data, room);

                if (!grown)
                        return -ENOMEM;
                b->data = grown;
                b->room = room;
        }
        b->data[b->size++] = c;
        b->data[b->size] = '\0';
        return 0;
}

/*
 * Room for one more of @n items. There is enough up to the next power of two, so that many items
 * are not copied once for each of them.
 */
static int make_room(void *items_pointer, size_t n, size_t size) {
        void *items;

        if ((n & (n - 1)) != 0)
                return 0;
        memcpy(&items, items_pointer, sizeof(items)); /* whatever type it points to */
        items = reallocarray(items, n == 0 ? 1 : n * 2, size);
        if (!items)
                return -ENOMEM;
        memcpy(items_pointer, &items, sizeof(items));
        return 0;
}

static bool is_blank(char c) {
        return c == ' ' || c == '\t' || c == '\r';
}

static bool ends_word(char c) {
        return is_blank(c) || c == '\n' || c == ';' || c == '&' || c == '|' || c == '{' || c == '}';
}

static char lexer_peek(const Lexer *l, size_t ahead) {
        return ahead < (size_t)(l->end - l->p) ? l->p[ahead] : '\0';
}

static char lexer_take(Lexer *l) {
        char c = *l->p++;

        if (c == '\n')
                l->line++;
        return c;
}

/* '…': everything as it is. "…": a backslash protects $, ", a backslash and the end of a line. */
static int take_quoted(Lexer *l, Buffer *b) {
        char quote = lexer_take(l);
        int r;

        while (l->p < l->end) {
                char c = lexer_take(l);

                if (c == quote)
                        return 0;
                if (quote == '"' && c == '\\' && l->p < l->end && strchr("$\"\\\n", *l->p)) {
                        c = lexer_take(l);
                        if (c == '\n')
                                continue;
                }
                r = buffer_put(b, c);
                if (r < 0)
                        return r;
        }
        return -EBADMSG;
}

/* ${name}, with braces that end no word. */
static int take_variable(Lexer *l, Buffer *b) {
        int r;

        while (l->p < l->end && *l->p != '\n') {
                char c = lexer_take(l);

                r = buffer_put(b, c);
                if (r < 0)
                        return r;
                if (c == '}')
                        return 0;
        }
        return -EBADMSG;
}

static int take_word(Lexer *l, Token *ret) {
        _cleanup_free_ char *data = NULL;
        Buffer b = { 0 };
        int r = 0;

        while (l->p < l->end && r >= 0) {
                char c = *l->p;

                if (ends_word(c))
                        break;
                if (c == '\'' || c == '"')
                        r = take_quoted(l, &b);
                else if (c == '$' && lexer_peek(l, 1) == '{')
                        r = take_variable(l, &b);
                else if (c == '\\' && l->end - l->p > 1) {
                        (void)lexer_take(l);
                        c = lexer_take(l);
                        if (c != '\n')
                                r = buffer_put(&b, c);
                } else
                        r = buffer_put(&b, lexer_take(l));
        }
        data = b.data;
        if (r < 0)
                return r;
        if (!data)
                data = strdup("");
        if (!data)
                return -ENOMEM;
        *ret = (Token){ TOKEN_WORD, TAKE_PTR(data) };
        return 0;
}

/* `### BEGIN /etc/grub.d/10_linux ###` and the like; any other comment returns 0. */
static int take_comment(Lexer *l, Token *ret) {
        static const char begin[] = "### BEGIN ", end[] = "### END ";
        const char *start = l->p, *stop;
        char *text;

        stop = memchr(start, '\n', (size_t)(l->end - start));
        if (!stop)
                stop = l->end;
        l->p = stop;
        if ((size_t)(stop - start) > strlen(begin) && memcmp(start, begin, strlen(begin)) == 0) {
                const char *path = start + strlen(begin);
                const char *blank = memchr(path, ' ', (size_t)(stop - path));

                text = strndup(path, (size_t)((blank ? blank : stop) - path));
        } else if ((size_t)(stop - start) > strlen(end) && memcmp(start, end, strlen(end)) == 0)
                text = strdup("");
        else
                return 0;
        if (!text)
                return -ENOMEM;
        *ret = (Token){ TOKEN_MARK, text };
        return 1;
}

static int next_token(Lexer *l, Token *ret) {
        int r;

        for (;;) {
                char c;

                while (l->p < l->end && is_blank(*l->p))
                        l->p++;
                if (l->p >= l->end) {
                        *ret = (Token){ TOKEN_EOF, NULL };
                        return 0;
                }
                c = *l->p;
                if (c == '\\' && lexer_peek(l, 1) == '\n') {
                        l->p += 2;
                        l->line++;
                        continue;
                }
                if (c == '#') {
                        r = take_comment(l, ret);
                        if (r != 0)
                                return r < 0 ? r : 0;
                        continue;
                }
                if (c == '{' || c == '}') {
                        l->p++;
                        *ret = (Token){ c == '{' ? TOKEN_OPEN : TOKEN_CLOSE, NULL };
                        return 0;
                }
                if (ends_word(c)) {
                        (void)lexer_take(l);
                        *ret = (Token){ TOKEN_END, NULL };
                        return 0;
                }
                return take_word(l, ret);
        }
}

typedef enum BlockKind {
        BLOCK_OTHER, /* a function */
        BLOCK_SUBMENU,
        BLOCK_ENTRY,
} BlockKind;

/* A brace that is open. */
typedef struct Block {
        BlockKind kind;
        char *title, *id;
        unsigned index; /* which one it is among the entries and submenus of its menu */
        unsigned n_children;
        unsigned line;
        bool has_kernel;
} Block;

/* The way from the top of the menu to an entry. */
typedef struct Step {
        char *title, *id;
        unsigned index;
} Step;

typedef struct Way {
        Step *steps;
        size_t n_steps;
} Way;

typedef struct Parser {
        const char *path;
        Lexer lexer;
        char **words; /* of the command so far */
        size_t n_words;
        unsigned command_line;
        Block blocks[DEPTH_MAX];
        size_t n_blocks;
        unsigned n_top;
        char *section; /* script whose output this is; NULL: unknown; empty: of none */
        bool any_section;
        char *chosen; /* what the variable default is set to */
        BootEntries entries;
        Way *ways; /* one for each entry */
} Parser;

static void block_done(Block *block) {
        free(block->title);
        free(block->id);
}

static void parser_clear_words(Parser *p) {
        for (size_t i = 0; i < p->n_words; i++)
                free(p->words[i]);
        p->n_words = 0;
}

static void parser_done(Parser *p) {
        for (size_t i = 0; i < p->entries.n_items && p->ways; i++) {
                for (size_t j = 0; j < p->ways[i].n_steps; j++) {
                        free(p->ways[i].steps[j].title);
                        free(p->ways[i].steps[j].id);
                }
                free(p->ways[i].steps);
        }
        free(p->ways);
        boot_entries_done(&p->entries);
        parser_clear_words(p);
        free(p->words);
        while (p->n_blocks > 0)
                block_done(p->blocks + --p->n_blocks);
        free(p->section);
        free(p->chosen);
}

static int parser_add_word(Parser *p, char *word) {
        /* The NULL behind the last word counts, too */
        if (make_room(&p->words, p->n_words + 1, sizeof(char *)) < 0) {
                free(word);
                return -ENOMEM;
        }
        p->words[p->n_words++] = word;
        p->words[p->n_words] = NULL;
        return 0;
}

/* The submenus that we are in and the entry itself. */
static int parser_way(const Parser *p, Way *ret) {
        Way way = { 0 };

        way.steps = new0(Step, p->n_blocks);
        if (!way.steps)
                return -ENOMEM;
        *ret = way;
        for (size_t i = 0; i < p->n_blocks; i++) {
                const Block *block = p->blocks + i;
                Step *step;

                if (block->kind == BLOCK_OTHER)
                        continue;
                step = ret->steps + ret->n_steps++;
                step->index = block->index;
                step->title = strdup(block->title);
                step->id = block->id ? strdup(block->id) : NULL;
                if (!step->title || (block->id && !step->id))
                        return -ENOMEM;
        }
        return 0;
}

/* The script of the distribution that lists its own kernels; the Xen variant boots a hypervisor. */
static bool section_is_linux(const char *section) {
        const char *name = strrchr(section, '/');

        name = name ? name + 1 : section;
        return strstr(name, "_linux") && !strstr(name, "xen");
}

static bool kernel_is_memory_test(const char *kernel) {
        const char *name = strrchr(kernel, '/');

        return startswith(name ? name + 1 : kernel, "memtest") != NULL;
}

/* What grub-mkconfig and init(1) know as a boot for repair. */
static bool is_recovery(const Block *block, char *const *arguments) {
        if (block->id && strstr(block->id, "-recovery-"))
                return true;
        for (char *const *a = arguments; *a && !streq(*a, "--"); a++)
                if (boot_argument_is_repair(*a))
                        return true;
        return false;
}

static BootEntryKind entry_kind(const Parser *p, const Block *block, const char *kernel,
                                char *const *arguments) {
        if (!kernel || kernel_is_memory_test(kernel))
                return BOOT_ENTRY_OTHER;
        if (p->any_section && (!p->section || !section_is_linux(p->section)))
                return BOOT_ENTRY_OTHER;
        return is_recovery(block, arguments) ? BOOT_ENTRY_RECOVERY : BOOT_ENTRY_NORMAL;
}

/* Ours among @words; those behind `--` are for init. */
static int own_arguments(char *const *words, char ***ret) {
        _cleanup_(strv_freep) char **own = NULL;
        size_t n = 0;

        own = new0(char *, strv_length(words) + 1);
        if (!own)
                return -ENOMEM;
        for (char *const *w = words; *w && !streq(*w, "--"); w++) {
                if (!cmdline_word_is_ours(*w))
                        continue;
                own[n] = strdup(*w);
                if (!own[n])
                        return -ENOMEM;
                n++;
        }
        *ret = TAKE_PTR(own);
        return 0;
}

/* Adds an entry for the block that we are in. @words: `linux` and what follows; NULL: no kernel. */
static int parser_add_entry(Parser *p, const Block *block, unsigned line, char *const *words) {
        static char *const none[] = { NULL };
        const char *kernel = words && words[0] ? words[1] : NULL;
        char *const *arguments = kernel ? words + 2 : none;
        BootEntry *entry;

        if (make_room(&p->entries.items, p->entries.n_items, sizeof(BootEntry)) < 0 ||
            make_room(&p->ways, p->entries.n_items, sizeof(Way)) < 0)
                return -ENOMEM;
        entry = p->entries.items + p->entries.n_items;
        *entry = (BootEntry){
                .title = strdup(block->title),
                .path = strdup(p->path),
                .line = line,
                .kernel = kernel ? strdup(kernel) : NULL,
                .kind = entry_kind(p, block, kernel, arguments),
        };
        p->ways[p->entries.n_items++] = (Way){ 0 };
        if (!entry->title || !entry->path || (kernel && !entry->kernel))
                return -ENOMEM;
        if (own_arguments(arguments, &entry->arguments) < 0)
                return -ENOMEM;
        return parser_way(p, p->ways + p->entries.n_items - 1);
}

static Block *parser_find_entry(Parser *p) {
        for (size_t i = p->n_blocks; i > 0; i--)
                if (p->blocks[i - 1].kind == BLOCK_ENTRY)
                        return p->blocks + i - 1;
        return NULL;
}

/* `set default=VALUE` as grub-mkconfig writes it; what an earlier boot left behind counts not. */
static int parser_set(Parser *p, char *const *words) {
        const char *value;
        char *copy;

        value = words[1] ? startswith(words[1], "default=") : NULL;
        if (!value || streq(value, "${next_entry}") || streq(value, "$next_entry"))
                return 0;
        copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        free(p->chosen);
        p->chosen = copy;
        return 0;
}

/* A command is complete. */
static int parser_command(Parser *p) {
        static const char *const keywords[] = { "then", "else", "do", "!", "if", "elif" };
        char **words = p->words;
        Block *block;
        int r = 0;

        if (p->n_words == 0)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(keywords);)
                if (*words && streq(*words, keywords[i])) {
                        words++;
                        i = 0;
                } else
                        i++;
        block = parser_find_entry(p);
        if (*words && streq(*words, "set"))
                r = parser_set(p, words);
        else if (block && *words &&
                 (streq(*words, "linux") || streq(*words, "linux16") ||
                  streq(*words, "linuxefi")) &&
                 words[1]) {
                block->has_kernel = true;
                r = parser_add_entry(p, block, p->command_line, words);
        }
        parser_clear_words(p);
        return r;
}

/* Number of the next entry or submenu in the menu that we are in. */
static unsigned parser_next_index(Parser *p) {
        for (size_t i = p->n_blocks; i > 0; i--)
                if (p->blocks[i - 1].kind == BLOCK_SUBMENU)
                        return p->blocks[i - 1].n_children++;
        return p->n_top++;
}

/* The title is the first word that is neither an option nor the value of one. */
static int block_name(Block *block, char *const *words) {
        static const char *const with_value[] = { "--class", "--users", "--hotkey", "--source" };

        for (char *const *w = words + 1; *w; w++) {
                bool takes_value = false;

                if (streq(*w, "--id") || streq(*w, "$menuentry_id_option") ||
                    streq(*w, "${menuentry_id_option}")) {
                        if (!w[1])
                                break;
                        w++;
                        free(block->id);
                        block->id = strdup(*w);
                        if (!block->id)
                                return -ENOMEM;
                        continue;
                }
                for (size_t i = 0; i < ELEMENTSOF(with_value); i++)
                        takes_value = takes_value || streq(*w, with_value[i]);
                if (takes_value && w[1])
                        w++;
                else if (!startswith(*w, "--") && !block->title) {
                        block->title = strdup(*w);
                        if (!block->title)
                                return -ENOMEM;
                }
        }
        if (!block->title)
                block->title = strdup("");
        return block->title ? 0 : -ENOMEM;
}

static int parser_open(Parser *p) {
        Block *block;
        int r;

        if (p->n_blocks == DEPTH_MAX)
                return -EBADMSG;
        block = p->blocks + p->n_blocks;
        *block = (Block){ .line = p->command_line };
        if (p->n_words > 0 && streq(p->words[0], "menuentry"))
                block->kind = BLOCK_ENTRY;
        else if (p->n_words > 0 && streq(p->words[0], "submenu"))
                block->kind = BLOCK_SUBMENU;
        if (block->kind != BLOCK_OTHER)
                block->index = parser_next_index(p);
        p->n_blocks++;
        r = block->kind != BLOCK_OTHER ? block_name(block, p->words) : 0;
        parser_clear_words(p);
        return r;
}

static int parser_close(Parser *p) {
        Block *block;
        int r;

        r = parser_command(p);
        if (r < 0)
                return r;
        if (p->n_blocks == 0)
                return -EBADMSG;
        block = p->blocks + p->n_blocks - 1;
        if (block->kind == BLOCK_ENTRY && !block->has_kernel)
                r = parser_add_entry(p, block, block->line, NULL);
        block_done(block);
        p->n_blocks--;
        return r;
}

static int parser_mark(Parser *p, char *section) {
        free(p->section);
        p->section = section;
        p->any_section = true;
        return parser_command(p);
}

static int parser_run(Parser *p) {
        for (;;) {
                Token token = { 0 };
                int r;

                r = next_token(&p->lexer, &token);
                if (r < 0)
                        return r;
                switch (token.kind) {
                case TOKEN_WORD:
                        if (p->n_words == 0)
                                p->command_line = p->lexer.line;
                        r = parser_add_word(p, token.text);
                        break;
                case TOKEN_END:
                        r = parser_command(p);
                        break;
                case TOKEN_OPEN:
                        r = parser_open(p);
                        break;
                case TOKEN_CLOSE:
                        r = parser_close(p);
                        break;
                case TOKEN_MARK:
                        r = parser_mark(p, token.text);
                        break;
                case TOKEN_EOF:
                        r = parser_command(p);
                        if (r < 0)
                                return r;
                        return p->n_blocks == 0 ? 0 : -EBADMSG;
                }
                if (r < 0)
                        return r;
        }
}

/* Is @step what @name of @length bytes says: a number, a title or an id? `>>` stands for `>`. */
static bool step_matches(const Step *step, const char *name, size_t length) {
        _cleanup_free_ char *text = NULL;
        unsigned index;
        size_t n = 0;

        text = new0(char, length + 1);
        if (!text)
                return false;
        for (size_t i = 0; i < length; i++) {
                text[n++] = name[i];
                if (name[i] == '>' && i + 1 < length && name[i + 1] == '>')
                        i++;
        }
        if (parse_unsigned(text, &index) == 0)
                return step->index == index;
        return streq(text, step->title) || (step->id && streq(text, step->id));
}

/* The first part of a way as text, up to a single `>`. */
static size_t first_part(const char *text) {
        size_t i = 0;

        while (text[i] != '\0') {
                if (text[i] == '>' && text[i + 1] != '>')
                        break;
                i += text[i] == '>' ? 2 : 1;
        }
        return i;
}

/* A way that ends at a submenu means the first entry of it. */
static bool way_matches(const Way *way, const char *name) {
        for (size_t i = 0; i < way->n_steps; i++) {
                size_t length = first_part(name);

                if (length == 0) {
                        if (way->steps[i].index != 0)
                                return false;
                        continue;
                }
                if (!step_matches(way->steps + i, name, length))
                        return false;
                name += length;
                if (*name == '>')
                        name++;
        }
        return *name == '\0';
}

/* Marks the entries that @name means. A title in a submenu is enough, as GRUB 1 wrote it. */
static bool parser_mark_default(Parser *p, const char *name) {
        bool found = false;

        if (*name == '\0')
                return false;
        for (size_t i = 0; i < p->entries.n_items; i++)
                if (way_matches(p->ways + i, name))
                        found = p->entries.items[i].is_default = true;
        for (size_t i = 0; i < p->entries.n_items && !found; i++)
                if (streq(p->entries.items[i].title, name))
                        found = p->entries.items[i].is_default = true;
        return found;
}

int grub_config_parse(const char *path, const char *text, size_t size, const char *saved_entry,
                      BootEntries *ret) {
        _cleanup_(parser_done) Parser p = {
                .path = path,
                .lexer = { text, text + size, 1 },
        };
        const char *chosen;
        int r;

        if (memchr(text, '\0', size))
                return -EBADMSG;
        r = parser_run(&p);
        if (r < 0)
                return r;

        chosen = p.chosen ? p.chosen : "0";
        if (streq(chosen, "${saved_entry}") || streq(chosen, "$saved_entry"))
                chosen = saved_entry ? saved_entry : "0";
        /* What leads nowhere is the first entry, as GRUB does it */
        if (strnlen(chosen, NAME_LENGTH_MAX) == NAME_LENGTH_MAX || !parser_mark_default(&p, chosen))
                (void)parser_mark_default(&p, "0");

        for (size_t i = 0; i < p.entries.n_items; i++) {
                for (size_t j = 0; j < p.ways[i].n_steps; j++) {
                        free(p.ways[i].steps[j].title);
                        free(p.ways[i].steps[j].id);
                }
                free(p.ways[i].steps);
        }
        free(TAKE_PTR(p.ways));
        *ret = p.entries;
        p.entries = (BootEntries){ 0 };
        return 0;
}

/* Where what follows `linux` begins in @line; NULL if it is no line of a kernel. */
static const char *kernel_line(const char *line) {
        static const char *const commands[] = { "linux", "linux16", "linuxefi" };
        const char *word = line + strspn(line, " \t");

        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                const char *rest = startswith(word, commands[i]);

                if (rest && (*rest == ' ' || *rest == '\t'))
                        return rest;
        }
        return NULL;
}

/* One line without its end, to @f. */
static int print_replaced(FILE *f, const char *line, char *const *arguments) {
        _cleanup_(strv_freep) char **own = NULL;
        _cleanup_free_ char *replaced = NULL;
        const char *rest = kernel_line(line);
        int r;

        r = rest ? cmdline_extract(rest, &own) : 0;
        if (r < 0)
                return r;
        if (!rest || !own[0]) {
                fputs(line, f);
                return 0;
        }
        r = cmdline_replace(rest, arguments, &replaced);
        if (r >= 0)
                fprintf(f, "%.*s%s", (int)(rest - line), line, replaced);
        return r;
}

int grub_config_replace(const char *text, size_t size, char *const *arguments, char **ret,
                        size_t *ret_size) {
        _cleanup_free_ char *data = NULL;
        const char *end = text + size;
        int r = 0;
        FILE *f;

        f = open_memstream(&data, ret_size);
        if (!f)
                return -ENOMEM;
        for (const char *p = text; p < end && r >= 0;) {
                const char *newline = memchr(p, '\n', (size_t)(end - p));
                _cleanup_free_ char *line = NULL;

                line = strndup(p, (size_t)((newline ? newline : end) - p));
                r = line ? print_replaced(f, line, arguments) : -ENOMEM;
                if (newline)
                        fputc('\n', f);
                p = newline ? newline + 1 : end;
        }
        if (fclose(f) != 0 || r < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(data);
        return 0;
}

/* The newline that ends a variable; one behind a backslash belongs to the value. */
static const char *environment_line_end(const char *p) {
        for (; *p != '\0' && *p != '\n'; p++)
                if (*p == '\\' && p[1] != '\0')
                        p++;
        return p;
}

/* The raw value of @name: [*ret_start, *ret_end), escapes and all. */
static int find_value(const char *text, const char *name, const char **ret_start,
                      const char **ret_end) {
        size_t length = strlen(name);

        while (strncmp(text, name, length) != 0 || text[length] != '=') {
                text = environment_line_end(text);
                if (*text++ == '\0')
                        return -ENOENT;
        }
        *ret_start = text + length + 1;
        *ret_end = environment_line_end(*ret_start);
        return 0;
}

int grub_environment_get(const char *text, const char *name, char **ret) {
        _cleanup_free_ char *value = NULL;
        const char *end;
        size_t n = 0;
        int r;

        r = find_value(text, name, &text, &end);
        if (r < 0)
                return r;
        value = new0(char, (size_t)(end - text) + 1);
        if (!value)
                return -ENOMEM;
        for (; text < end; text++) {
                if (*text == '\\' && text + 1 < end)
                        text++;
                value[n++] = *text;
        }
        *ret = TAKE_PTR(value);
        return 0;
}

int grub_environment_replace(const char *text, const char *name, char *const *arguments,
                             char **ret) {
        _cleanup_free_ char *value = NULL, *replaced = NULL, *block = NULL;
        size_t size = strlen(text), used = size, head, n;
        const char *start, *end;
        int r;

        while (used > 0 && text[used - 1] == '#')
                used--;
        if (!startswith(text, "# GRUB Environment Block\n") || text[used - 1] != '\n')
                return -EBADMSG;
        r = find_value(text, name, &start, &end);
        if (r < 0)
                return r;
        value = strndup(start, (size_t)(end - start));
        if (!value)
                return -ENOMEM;
        r = cmdline_replace(value, arguments, &replaced);
        if (r < 0)
                return r;
        head = (size_t)(start - text);
        n = strlen(replaced);
        if (used - strlen(value) + n > size)
                return -ENOSPC;
        block = new0(char, size + 1);
        if (!block)
                return -ENOMEM;
        memset(block, '#', size);
        memcpy(block, text, head);
        memcpy(block + head, replaced, n);
        memcpy(block + head + n, end, used - (size_t)(end - text));
        *ret = TAKE_PTR(block);
        return 0;
}

int grub_config_get(const char *text, size_t size, const char *name, char **ret) {
        _cleanup_free_ char *value = NULL;
        Lexer lexer = { text, text + size, 1 };
        size_t length = strlen(name);
        bool is_set = false;

        for (;;) {
                _cleanup_free_ char *word = NULL;
                Token token = { 0 };
                int r;

                r = next_token(&lexer, &token);
                if (r < 0)
                        return r;
                if (token.kind == TOKEN_EOF)
                        break;
                word = token.text;
                if (token.kind == TOKEN_WORD && is_set && strncmp(word, name, length) == 0 &&
                    word[length] == '=' && !strstr(word, "next_entry")) {
                        free(value);
                        value = strdup(word + length + 1);
                        if (!value)
                                return -ENOMEM;
                }
                is_set = token.kind == TOKEN_WORD && streq(word, "set");
        }
        if (!value)
                return -ENOENT;
        *ret = TAKE_PTR(value);
        return 0;
}

/* What may stand before an argument: it begins a word, a quoted text or a value. */
static bool begins_argument(char before) {
        return before == '\0' || is_blank(before) || strchr("\n'\"=;(`", before);
}

/* Up to what ends a word, a quoted text or a command, but no more than @limit. */
static size_t argument_length(const char *p, size_t limit) {
        size_t n = 0;

        while (n < limit && p[n] != '\0' && !strchr(" \t\r\n'\";)`\\", p[n]))
                n++;
        return n;
}

int grub_find_arguments(const char *path, const char *text, ShellText kind, ForeignArguments *ret) {
        char quote = '\0', before = '\0';
        unsigned line = 1;

        for (const char *p = text; *p != '\0';) {
                size_t length = begins_argument(before) ? argument_length(p, KEY_MAX) : 0;
                _cleanup_free_ char *word = NULL;
                int r;

                if (*p == '#' && quote == '\0' && (before == '\0' || ends_word(before))) {
                        p += strcspn(p, "\n");
                        before = ' ';
                        continue;
                }
                if (length > 0) {
                        word = strndup(p, length);
                        if (!word)
                                return -ENOMEM;
                        if (cmdline_word_is_ours(word)) {
                                length = argument_length(p, ARGUMENT_MAX);
                                r = foreign_arguments_add(ret, path, line, word, length);
                                if (r < 0)
                                        return r;
                                p += length;
                                before = 'x';
                                continue;
                        }
                }
                if (*p == '\\' && quote != '\'' && p[1] != '\0') {
                        line += p[1] == '\n';
                        /* A quote that the kernel is to see begins a word of its, too */
                        before = strchr("\n'\"", p[1]) ? p[1] : 'x';
                        p += 2;
                        continue;
                }
                if (*p == '\n') {
                        line++;
                        if (kind == SHELL_TEXT_SCRIPT)
                                quote = '\0';
                } else if (quote == '\0' && (*p == '\'' || *p == '"'))
                        quote = *p;
                else if (*p == quote)
                        quote = '\0';
                before = *p++;
        }
        return 0;
}
