/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "host/config.h"

#define BLANKS " \t"
/* How much of a value a message quotes. */
#define QUOTE_MAX 64
/* How long a pipe named by --config= may keep us waiting. */
#define SINGLE_TIMEOUT_MSEC 5000

DEFINE_CLEANUP(char **, strv_free);

void config_errors_done(ConfigErrors *errors) {
        for (size_t i = 0; i < errors->n_items; i++) {
                free(errors->items[i].path);
                free(errors->items[i].message);
        }
        free(errors->items);
        *errors = (ConfigErrors){};
}

_printf_(4, 5) static int errors_add(ConfigErrors *errors, const char *path, unsigned line,
                                     const char *format, ...) {
        ConfigError *grown, error = { .line = line };
        va_list ap;
        int r;

        grown = reallocarray(errors->items, errors->n_items + 1, sizeof(ConfigError));
        if (!grown)
                return -ENOMEM;
        errors->items = grown;

        va_start(ap, format);
        r = vasprintf(&error.message, format, ap);
        va_end(ap);
        if (r < 0)
                return -ENOMEM;
        error.path = strdup(path);
        if (!error.path) {
                free(error.message);
                return -ENOMEM;
        }
        errors->items[errors->n_items++] = error;
        return 0;
}

/* Text of others in a message: in quotes, short, and nothing in it that a terminal would obey. */
typedef struct Quoted {
        char text[4 * QUOTE_MAX + 8];
} Quoted;

static Quoted quote(const char *value) {
        Quoted q;
        size_t n = 0;

        q.text[n++] = '"';
        for (size_t i = 0; value[i]; i++) {
                unsigned char c = (unsigned char)value[i];

                /* Cut between characters, not inside one: UTF-8 continues with 10xxxxxx. */
                if (i >= QUOTE_MAX && (c & 0xc0) != 0x80) {
                        n += (size_t)sprintf(q.text + n, "...");
                        break;
                }
                /* C0 and C1 controls; the latter are U+0080 to U+009F, c2 80 to c2 9f in UTF-8 */
                if (c < 0x20 || c == 0x7f || c == '"' || c == '\\' ||
                    (c == 0xc2 && (unsigned char)value[i + 1] < 0xa0) ||
                    (c < 0xa0 && i > 0 && (unsigned char)value[i - 1] == 0xc2))
                        n += (size_t)sprintf(q.text + n, "\\x%02x", c);
                else
                        q.text[n++] = (char)c;
        }
        q.text[n++] = '"';
        q.text[n] = '\0';
        return q;
}

/* Returns the length of the character at @p, 0 if it is none. @n bytes are there, at least one. */
static size_t utf8_length(const unsigned char *p, size_t n) {
        size_t length;
        uint32_t c;

        if (p[0] < 0x80)
                return 1;
        if (p[0] >= 0xc2 && p[0] <= 0xdf)
                length = 2;
        else if (p[0] >= 0xe0 && p[0] <= 0xef)
                length = 3;
        else if (p[0] >= 0xf0 && p[0] <= 0xf4)
                length = 4;
        else
                return 0;
        if (length > n)
                return 0;
        c = p[0] & (0x7fU >> length);
        for (size_t i = 1; i < length; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (p[i] & 0x3f);
        }
        /* Not too long for what it says, no surrogate, not beyond Unicode. */
        if ((length == 3 && (c < 0x800 || (c >= 0xd800 && c <= 0xdfff))) ||
            (length == 4 && (c < 0x10000 || c > 0x10ffff)))
                return 0;
        return length;
}

static bool is_utf8(const char *data, size_t size) {
        for (size_t i = 0, n; i < size; i += n) {
                n = utf8_length((const unsigned char *)data + i, size - i);
                if (n == 0)
                        return false;
        }
        return true;
}

typedef enum Section {
        SECTION_NONE,    /* before the first header */
        SECTION_UNKNOWN, /* reported at its header, what is in it is not read */
        SECTION_PLAN,
        SECTION_KERNEL,
        SECTION_DMEM,
        SECTION_HUGE_PAGES,
        SECTION_MOUNT,
        SECTION_NODE,
        SECTION_BOOT_LOADER,
        _SECTION_MAX,
} Section;

static const char *const section_names[_SECTION_MAX] = {
        [SECTION_PLAN] = "Plan",
        [SECTION_KERNEL] = "Kernel",
        [SECTION_DMEM] = "Dmem",
        [SECTION_HUGE_PAGES] = "HugePages",
        [SECTION_MOUNT] = "Mount",
        [SECTION_NODE] = "Node N",
        [SECTION_BOOT_LOADER] = "BootLoader",
};

/* Where the reader is. */
typedef struct Reader {
        const char *path;
        ConfigErrors *errors;
        Policy *policy;
        Section section;
        unsigned node_id;
} Reader;

/*
 * A setting parses @value into @target, or returns -EINVAL or -ERANGE. An empty value never gets
 * there, it stands for the default.
 */
typedef int (*parse_t)(const char *value, void *target);

static int parse_config_backend(const char *value, void *target) {
        return backend_from_string(value, target);
}

static int parse_config_boot_loader(const char *value, void *target) {
        return boot_loader_type_from_string(value, target);
}

static int parse_config_size(const char *value, void *target) {
        return parse_size(value, target);
}

static int parse_config_count(const char *value, void *target) {
        return parse_u64(value, target);
}

static int parse_config_percent(const char *value, void *target) {
        unsigned percent;
        int r;

        r = parse_unsigned(value, &percent);
        if (r < 0)
                return r;
        if (percent > 100)
                return -ERANGE;
        *(unsigned *)target = percent;
        return 0;
}

static int parse_config_dmem_size(const char *value, void *target) {
        DmemSize size = {};
        size_t length = strlen(value);
        int r = 0;

        if (streq(value, "rest"))
                size.kind = DMEM_SIZE_REST;
        else if (value[length - 1] == '%') {
                char digits[8];
                unsigned percent;

                if (length >= sizeof(digits))
                        return -EINVAL;
                memcpy(digits, value, length - 1);
                digits[length - 1] = '\0';
                r = parse_config_percent(digits, &percent);
                if (r < 0)
                        return r;
                size = (DmemSize){ .kind = DMEM_SIZE_PERCENT, .value = percent };
        } else {
                size.kind = DMEM_SIZE_BYTES;
                r = parse_size(value, &size.value);
        }
        if (r < 0)
                return r;
        *(DmemSize *)target = size;
        return 0;
}

static int parse_config_align(const char *value, void *target) {
        uint64_t align;
        int r;

        r = parse_size(value, &align);
        if (r < 0)
                return r;
        if (!is_power_of_two(align))
                return -EINVAL;
        if (align < 128 * MiB)
                return -ERANGE;
        *(uint64_t *)target = align;
        return 0;
}

static int parse_config_page_size(const char *value, void *target) {
        uint64_t size;
        int r;

        r = parse_size(value, &size);
        if (r < 0)
                return r;
        if (size != 4 * KiB && size != 2 * MiB && size != GiB)
                return -EINVAL;
        *(uint64_t *)target = size;
        return 0;
}

/* The words that systemd takes for a boolean. */
static int parse_config_bool(const char *value, void *target) {
        static const char *const words[2][6] = {
                { "no", "n", "0", "false", "f", "off" },
                { "yes", "y", "1", "true", "t", "on" },
        };

        for (size_t truth = 0; truth < 2; truth++)
                for (size_t i = 0; i < ELEMENTSOF(words[truth]); i++)
                        if (strcasecmp(words[truth][i], value) == 0) {
                                *(bool *)target = truth;
                                return 0;
                        }
        return -EINVAL;
}

static int parse_config_mode(const char *value, void *target) {
        mode_t mode = 0;

        for (const char *p = value; *p; p++) {
                if (*p < '0' || *p > '7')
                        return -EINVAL;
                mode = mode << 3 | (mode_t)(*p - '0');
                if (mode > 07777)
                        return -ERANGE;
        }
        *(mode_t *)target = mode;
        return 0;
}

static int replace_string(char **target, const char *value) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*target);
        *target = copy;
        return 0;
}

/* An absolute path to something below /, without `.` and `..`; slashes are made single. */
static int parse_config_path(const char *value, void *target) {
        _cleanup_free_ char *path = NULL;
        char *end;

        if (value[0] != '/')
                return -EINVAL;
        if (strlen(value) >= PATH_MAX)
                return -ERANGE;
        path = new0(char, strlen(value) + 1);
        if (!path)
                return -ENOMEM;
        end = path;
        for (const char *p = value; *p;) {
                size_t length;

                p += strspn(p, "/");
                length = strcspn(p, "/");
                if (length == 0)
                        break;
                if ((length == 1 && p[0] == '.') || (length == 2 && p[0] == '.' && p[1] == '.'))
                        return -EINVAL;
                for (size_t i = 0; i < length; i++)
                        if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
                                return -EINVAL;
                *end++ = '/';
                memcpy(end, p, length);
                end += length;
                p += length;
        }
        if (end == path)
                return -EINVAL;
        return replace_string(target, path);
}

/* A name as useradd(8) takes it, or a number; whether it exists is found out when it is used. */
static int parse_config_owner(const char *value, void *target) {
        size_t length = strlen(value);
        unsigned number;

        if (isdigit((unsigned char)value[0])) {
                int r = parse_unsigned(value, &number);

                if (r < 0)
                        return r;
                /* (uid_t)-1 means "leave it" to chown(2) */
                return number == UINT32_MAX ? -ERANGE : replace_string(target, value);
        }
        if (length > 255 || value[0] == '-')
                return -EINVAL;
        for (size_t i = 0; i < length; i++)
                if (!isalnum((unsigned char)value[i]) && !strchr("_.-", value[i]) &&
                    !(value[i] == '$' && i + 1 == length))
                        return -EINVAL;
        return replace_string(target, value);
}

/* Nodes= fills two fields of the policy, so its target is the policy. */
static int parse_config_nodes(const char *value, void *target) {
        Policy *p = target;
        IdSet set = {};
        int r;

        if (!streq(value, "all")) {
                r = id_set_parse(value, &set);
                if (r < 0)
                        return r;
        }
        id_set_done(&p->nodes);
        p->nodes = set;
        p->all_nodes = streq(value, "all");
        return 0;
}

#define ALLOWED_SIZE "bytes, or a number with K, M, G or T as in 2G"
#define ALLOWED_COUNT "a number of pages, 0 or more, on each node"
#define ALLOWED_DMEM_SIZE                                                                          \
        "rest, 0, bytes, a number with K, M, G or T as in 64G, or a share of the node from 0% to " \
        "100%"
#define ALLOWED_BOOL "yes or no"
#define ALLOWED_PATH "an absolute path without . and .."
#define ALLOWED_OWNER "a name or a number"

/* A setting of the general sections. A negative origin: nothing needs to know where it was set. */
typedef struct Setting {
        Section section;
        const char *key;
        const char *allowed; /* completes "it must be" */
        parse_t parse;
        size_t offset; /* of the value in Policy */
        ssize_t origin_offset;
        const char *default_value;
} Setting;

#define AT(field) offsetof(Policy, field)

static const Setting settings[] = {
        { SECTION_PLAN, "Backend", "dmem, hugetlb or none", parse_config_backend, AT(backend),
          AT(backend_origin), "dmem" },
        { SECTION_KERNEL, "Reserve", ALLOWED_SIZE, parse_config_size, AT(reserve),
          AT(reserve_origin), "2G" },
        { SECTION_KERNEL, "ReservePercent", "a number from 0 to 100", parse_config_percent,
          AT(reserve_percent), AT(reserve_percent_origin), "3" },
        { SECTION_KERNEL, "BootNodeReserve", ALLOWED_SIZE, parse_config_size, AT(boot_node_reserve),
          AT(boot_node_reserve_origin), "2G" },
        { SECTION_DMEM, "Size", ALLOWED_DMEM_SIZE, parse_config_dmem_size, AT(size),
          AT(size_origin), "rest" },
        { SECTION_DMEM, "Align", "a power of two of at least 128M", parse_config_align, AT(align),
          AT(align_origin), "1G" },
        { SECTION_DMEM, "Nodes", "all, or a node list as in 0-3,7 with ids up to 65535",
          parse_config_nodes, 0, AT(nodes_origin), "all" },
        { SECTION_DMEM, "CPULessNodes", ALLOWED_BOOL, parse_config_bool, AT(cpu_less_nodes),
          AT(cpu_less_nodes_origin), "no" },
        { SECTION_HUGE_PAGES, "Pages2M", ALLOWED_COUNT, parse_config_count, AT(pages_2m),
          AT(pages_2m_origin), "0" },
        { SECTION_HUGE_PAGES, "Pages1G", ALLOWED_COUNT, parse_config_count, AT(pages_1g),
          AT(pages_1g_origin), "0" },
        { SECTION_HUGE_PAGES, "OptimizeVmemmap", ALLOWED_BOOL, parse_config_bool,
          AT(optimize_vmemmap), -1, "yes" },
        { SECTION_MOUNT, "Where", ALLOWED_PATH, parse_config_path, AT(mount_where), -1,
          "/run/dmemfs" },
        { SECTION_MOUNT, "PageSize", "4K, 2M or 1G", parse_config_page_size, AT(mount_page_size),
          AT(mount_page_size_origin), "2M" },
        { SECTION_MOUNT, "Mode", "an octal mode from 0 to 7777", parse_config_mode, AT(mount_mode),
          -1, "0750" },
        { SECTION_MOUNT, "User", ALLOWED_OWNER, parse_config_owner, AT(mount_user), -1, "root" },
        { SECTION_MOUNT, "Group", ALLOWED_OWNER, parse_config_owner, AT(mount_group), -1, "root" },
        { SECTION_BOOT_LOADER, "Type", "auto, grub, bls, kernel-install or file",
          parse_config_boot_loader, AT(boot_loader), AT(boot_loader_origin), "auto" },
        { SECTION_BOOT_LOADER, "File", ALLOWED_PATH, parse_config_path, AT(boot_loader_file), -1,
          NULL },
};

/* A setting of [Node N]: the same values as an override. */
typedef struct NodeSetting {
        const char *key;
        const char *allowed;
        parse_t parse;
        size_t offset, has_offset, origin_offset; /* in NodePolicy */
} NodeSetting;

#define NODE(field)                                                                                \
        offsetof(NodePolicy, field), offsetof(NodePolicy, has_##field),                            \
                offsetof(NodePolicy, field##_origin)

static const NodeSetting node_settings[] = {
        { "Reserve", ALLOWED_SIZE, parse_config_size, NODE(reserve) },
        { "Size", ALLOWED_DMEM_SIZE, parse_config_dmem_size, NODE(size) },
        { "Pages2M", ALLOWED_COUNT, parse_config_count, NODE(pages_2m) },
        { "Pages1G", ALLOWED_COUNT, parse_config_count, NODE(pages_1g) },
};

/* `Reserve=, Size=`: the keys of a section, for a message. NULL when there is no memory. */
static char *list_keys(Section section) {
        _cleanup_free_ char *text = NULL;
        const char *separator = "";
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        for (size_t i = 0; i < ELEMENTSOF(settings); i++)
                if (settings[i].section == section) {
                        fprintf(f, "%s%s=", separator, settings[i].key);
                        separator = ", ";
                }
        for (size_t i = 0; section == SECTION_NODE && i < ELEMENTSOF(node_settings); i++) {
                fprintf(f, "%s%s=", separator, node_settings[i].key);
                separator = ", ";
        }
        return fclose(f) == 0 ? TAKE_PTR(text) : NULL;
}

static int report_bad_value(Reader *reader, unsigned line, const char *key, const char *value,
                            const char *allowed) {
        return errors_add(reader->errors, reader->path, line,
                          "%s=%s is not understood, it must be "
                          "%s",
                          key, quote(value).text, allowed);
}

static int report_unknown_key(Reader *reader, unsigned line, const char *key) {
        _cleanup_free_ char *keys = list_keys(reader->section);

        if (!keys)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(settings); i++)
                if (streq(settings[i].key, key))
                        return errors_add(reader->errors, reader->path, line,
                                          "%s= belongs into [%s], [%s] has %s", key,
                                          section_names[settings[i].section],
                                          section_names[reader->section], keys);
        return errors_add(reader->errors, reader->path, line,
                          "there is no setting %s in [%s], it has %s", quote(key).text,
                          section_names[reader->section], keys);
}

/* Settings without a default (File=) are unset by an empty value, the others get it again. */
static int reset_setting(Reader *reader, const Setting *s, void *target) {
        if (s->default_value)
                return s->parse(s->default_value, target);
        free(*(char **)target);
        *(char **)target = NULL;
        return 0;
}

static int assign_setting(Reader *reader, unsigned line, const Setting *s, const char *value) {
        void *target = (char *)reader->policy + s->offset;
        bool reset = value[0] == '\0';
        int r;

        r = reset ? reset_setting(reader, s, target) : s->parse(value, target);
        if (r == -EINVAL || r == -ERANGE)
                return report_bad_value(reader, line, s->key, value, s->allowed);
        if (r < 0 || s->origin_offset < 0)
                return r;
        return origin_set((Origin *)((char *)reader->policy + s->origin_offset),
                          reset ? NULL : reader->path, line);
}

static int assign_node_setting(Reader *reader, unsigned line, const NodeSetting *s,
                               const char *value) {
        bool reset = value[0] == '\0';
        NodePolicy *n;
        int r;

        r = policy_get_node(reader->policy, reader->node_id, &n);
        if (r < 0)
                return r;
        if (!reset)
                r = s->parse(value, (char *)n + s->offset);
        if (r == -EINVAL || r == -ERANGE)
                return report_bad_value(reader, line, s->key, value, s->allowed);
        if (r < 0)
                return r;
        *(bool *)((char *)n + s->has_offset) = !reset;
        return origin_set((Origin *)((char *)n + s->origin_offset), reset ? NULL : reader->path,
                          line);
}

static int read_assignment(Reader *reader, unsigned line, const char *key, const char *value) {
        if (reader->section == SECTION_NODE) {
                for (size_t i = 0; i < ELEMENTSOF(node_settings); i++)
                        if (streq(node_settings[i].key, key))
                                return assign_node_setting(reader, line, &node_settings[i], value);
        } else
                for (size_t i = 0; i < ELEMENTSOF(settings); i++)
                        if (settings[i].section == reader->section && streq(settings[i].key, key))
                                return assign_setting(reader, line, &settings[i], value);
        return report_unknown_key(reader, line, key);
}

/* [Node N]; sections of the same node add up. */
static int enter_node_section(Reader *reader, unsigned line, const char *text) {
        NodePolicy *n;
        unsigned id;
        int r;

        text += strspn(text, BLANKS);
        r = parse_unsigned(text, &id);
        if (r < 0 || id >= ID_SET_MAX)
                return errors_add(reader->errors, reader->path, line,
                                  "[Node%s%s] names no node, it must be [Node N] with N from 0 to "
                                  "%u",
                                  text[0] ? " " : "", text[0] ? quote(text).text : "",
                                  ID_SET_MAX - 1);
        r = policy_get_node(reader->policy, id, &n);
        if (r < 0)
                return r;
        if (!n->origin.path) {
                r = origin_set(&n->origin, reader->path, line);
                if (r < 0)
                        return r;
        }
        reader->section = SECTION_NODE;
        reader->node_id = id;
        return 0;
}

static int enter_section(Reader *reader, unsigned line, const char *name) {
        const char *rest;

        reader->section = SECTION_UNKNOWN;
        for (Section s = SECTION_PLAN; s < _SECTION_MAX; s++)
                if (s != SECTION_NODE && streq(section_names[s], name)) {
                        reader->section = s;
                        return 0;
                }
        rest = startswith(name, "Node");
        if (rest && (*rest == '\0' || strchr(BLANKS, *rest)))
                return enter_node_section(reader, line, rest);
        return errors_add(reader->errors, reader->path, line,
                          "there is no section %s, it must be one of [Plan], [Kernel], [Dmem], "
                          "[HugePages], [Mount], [Node N] or [BootLoader]",
                          quote(name).text);
}

/* A logical line: continuations joined, blanks at both ends gone, no comment, not empty. */
static int read_line(Reader *reader, unsigned line, char *text) {
        char *equals, *value;
        size_t length = strlen(text);

        if (text[0] == '[') {
                if (text[length - 1] != ']') {
                        reader->section = SECTION_UNKNOWN;
                        return errors_add(reader->errors, reader->path, line,
                                          "the section header %s does not end in ]",
                                          quote(text).text);
                }
                text[length - 1] = '\0';
                return enter_section(reader, line, text + 1);
        }
        equals = strchr(text, '=');
        if (!equals)
                return errors_add(reader->errors, reader->path, line,
                                  "%s is neither a [Section] nor a Setting=value",
                                  quote(text).text);
        if (reader->section == SECTION_UNKNOWN)
                return 0;

        value = equals + 1 + strspn(equals + 1, BLANKS);
        while (equals > text && strchr(BLANKS, equals[-1]))
                equals--;
        *equals = '\0';
        if (reader->section == SECTION_NONE)
                return errors_add(reader->errors, reader->path, line,
                                  "%s stands before the first [Section]", quote(text).text);
        return read_assignment(reader, line, text, value);
}

/* A line as it stands in the file, without its end. */
typedef struct RawLine {
        const char *data;
        size_t size;
} RawLine;

/* Takes the next line off @rest; lines end in \n, \r\n or with the file. */
static bool next_line(RawLine *rest, RawLine *ret) {
        const char *end;
        size_t taken;

        if (rest->size == 0)
                return false;
        end = memchr(rest->data, '\n', rest->size);
        *ret = (RawLine){ rest->data, end ? (size_t)(end - rest->data) : rest->size };
        taken = ret->size + (end ? 1 : 0);
        *rest = (RawLine){ rest->data + taken, rest->size - taken };
        if (ret->size > 0 && ret->data[ret->size - 1] == '\r')
                ret->size--;
        return true;
}

/* The logical line being put together. */
typedef struct Joined {
        char *text;
        size_t length;
        unsigned line; /* where it began */
        bool continues;
        bool bad; /* already reported, not to be read */
} Joined;

static int joined_append(Joined *j, const char *data, size_t size) {
        char *grown = realloc(j->text, j->length + size + 1);

        if (!grown)
                return -ENOMEM;
        j->text = grown;
        memcpy(grown + j->length, data, size);
        j->length += size;
        grown[j->length] = '\0';
        return 0;
}

/* The logical line is complete. */
static int joined_read(Joined *j, Reader *reader) {
        char *text = j->text;
        int r = 0;

        if (text && !j->bad) {
                while (j->length > 0 && strchr(BLANKS, text[j->length - 1]))
                        text[--j->length] = '\0';
                text += strspn(text, BLANKS);
                if (*text)
                        r = read_line(reader, j->line, text);
        }
        free(j->text);
        *j = (Joined){};
        return r;
}

/* Bytes that must not be in a line; returns what is wrong, or NULL. */
static const char *find_bad_bytes(RawLine line) {
        if (memchr(line.data, '\0', line.size))
                return "this line contains a NUL byte, this is no text file";
        if (!is_utf8(line.data, line.size))
                return "this line is not UTF-8";
        return NULL;
}

static int read_raw_line(Reader *reader, Joined *j, RawLine line, unsigned number) {
        const char *bad = find_bad_bytes(line);
        size_t blanks = 0;
        bool continues;
        int r;

        while (blanks < line.size && strchr(BLANKS, line.data[blanks]))
                blanks++;
        /* A comment between the parts of a continued line does not end it. */
        if (!bad && blanks < line.size && strchr("#;", line.data[blanks]))
                return 0;
        if (j->line == 0)
                j->line = number;
        if (!bad && j->length + line.size > CONFIG_LINE_MAX && !j->bad)
                bad = "this line is longer than 1 MiB";
        if (bad) {
                r = errors_add(reader->errors, reader->path, number, "%s", bad);
                if (r < 0)
                        return r;
                j->bad = true;
        }
        continues = line.size > 0 && line.data[line.size - 1] == '\\';
        if (!j->bad) {
                r = joined_append(j, line.data, continues ? line.size - 1 : line.size);
                if (r >= 0 && continues)
                        r = joined_append(j, " ", 1);
                if (r < 0)
                        return r;
        }
        return continues ? 0 : joined_read(j, reader);
}

int config_parse(const char *path, const char *data, size_t size, ConfigErrors *errors,
                 Policy *policy) {
        Reader reader = { .path = path, .errors = errors, .policy = policy };
        RawLine rest = { data, size }, line;
        unsigned number = 0;
        Joined joined = {};
        int r = 0;

        /* A byte order mark, as some editors write it */
        if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0)
                rest = (RawLine){ data + 3, size - 3 };
        while (r >= 0 && next_line(&rest, &line))
                r = read_raw_line(&reader, &joined, line, ++number);
        if (r >= 0)
                r = joined_read(&joined, &reader);
        free(joined.text);
        return r;
}

/* What is wrong only when all files are read. */
static int check_policy(const Policy *p, ConfigErrors *errors) {
        if (p->boot_loader == BOOT_LOADER_FILE && !p->boot_loader_file)
                return errors_add(errors, p->boot_loader_origin.path, p->boot_loader_origin.line,
                                  "Type=file needs the path of that file in File= of [BootLoader]");
        return 0;
}

/* Where configuration lives; the first named wins. */
static const char *const folders[] = { "etc", "run", "usr/lib" };

typedef enum FileKind {
        FILE_ABSENT, /* or nothing that could be a configuration file: a folder, a socket */
        FILE_MASKED, /* a link to /dev/null, or empty: hides those of the same name */
        FILE_PRESENT,
} FileKind;

/* Is @path a link that says /dev/null? It need not lead anywhere: an image may have no dev/. */
static bool is_null_link(int root_fd, const char *path) {
        _cleanup_close_ int fd = -EBADF;
        char target[sizeof("/dev/null") + 1];
        ssize_t n;

        fd = root_openat(root_fd, path, O_PATH | O_NOFOLLOW, 0);
        if (fd < 0)
                return false;
        n = readlinkat(fd, "", target, sizeof(target));
        return n == (ssize_t)strlen("/dev/null") && memcmp(target, "/dev/null", (size_t)n) == 0;
}

/* Returns a FileKind or a negative errno. A link that leads nowhere is there and cannot be read. */
static int file_kind(int root_fd, const char *path) {
        _cleanup_close_ int fd = -EBADF, link_fd = -EBADF;
        struct stat st;

        link_fd = root_openat(root_fd, path, O_PATH | O_NOFOLLOW, 0);
        if (link_fd == -ENOENT || link_fd == -ENOTDIR)
                return FILE_ABSENT;
        if (link_fd < 0)
                return link_fd;
        if (is_null_link(root_fd, path))
                return FILE_MASKED;
        fd = root_openat(root_fd, path, O_PATH, 0);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
                return FILE_MASKED;
        if (!S_ISREG(st.st_mode))
                return FILE_ABSENT;
        return st.st_size == 0 ? FILE_MASKED : FILE_PRESENT;
}

static int report_unreadable(ConfigErrors *errors, const char *path, int error) {
        return errors_add(errors, path, 0, "cannot be read: %s", strerror(-error));
}

/* The same for a path below the root, which is shown with a slash before it. */
static int report_unreadable_below(ConfigErrors *errors, const char *path, int error) {
        _cleanup_free_ char *shown = NULL;

        if (asprintf(&shown, "/%s", path) < 0) {
                shown = NULL;
                return -ENOMEM;
        }
        return report_unreadable(errors, shown, error);
}

static int push_path(char ***paths, size_t *n_paths, char *path) {
        char **grown = reallocarray(*paths, *n_paths + 2, sizeof(char *));

        if (!grown)
                return -ENOMEM;
        *paths = grown;
        grown[(*n_paths)++] = path;
        grown[*n_paths] = NULL;
        return 0;
}

/*
 * Looks for @name (`dmemd.conf` or `dmemd.conf.d/10-x.conf`) in the folders in their order and
 * appends the one that counts, if it is not masked.
 */
static int pick_file(int root_fd, const char *name, ConfigErrors *errors, char ***paths,
                     size_t *n_paths) {
        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                _cleanup_free_ char *path = NULL;
                int kind, r;

                if (asprintf(&path, "%s/dmemd/%s", folders[i], name) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                kind = file_kind(root_fd, path);
                if (kind == FILE_ABSENT)
                        continue;
                if (kind < 0)
                        return report_unreadable_below(errors, path, kind);
                if (kind == FILE_MASKED)
                        return 0;
                r = push_path(paths, n_paths, path);
                if (r >= 0)
                        (void)TAKE_PTR(path);
                return r;
        }
        return 0;
}

static bool is_drop_in_name(const char *name) {
        size_t length = strlen(name);

        return name[0] != '.' && length > strlen(".conf") &&
               streq(name + length - strlen(".conf"), ".conf");
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* `dmemd.conf.d/NAME` for each drop-in of any folder, sorted; a name may be there several times. */
static int list_drop_in_names(int root_fd, ConfigErrors *errors, char ***names, size_t *n_names) {
        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                _cleanup_(strv_freep) char **found = NULL;
                char folder[64];
                int r;

                (void)snprintf(folder, sizeof(folder), "%s/dmemd/dmemd.conf.d", folders[i]);
                r = root_list(root_fd, folder, "", &found);
                if (r == -ENOENT || r == -ENOTDIR)
                        continue;
                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        r = report_unreadable_below(errors, folder, r);
                        if (r < 0)
                                return r;
                        continue;
                }
                for (char **f = found; *f; f++) {
                        char *name;

                        if (!is_drop_in_name(*f))
                                continue;
                        if (asprintf(&name, "dmemd.conf.d/%s", *f) < 0)
                                return -ENOMEM;
                        r = push_path(names, n_names, name);
                        if (r < 0) {
                                free(name);
                                return r;
                        }
                }
        }
        if (*n_names > 0)
                qsort(*names, *n_names, sizeof(char *), compare_names);
        return 0;
}

int config_list_files(int root_fd, ConfigErrors *errors, char ***ret) {
        _cleanup_(strv_freep) char **paths = NULL, **names = NULL;
        size_t n_paths = 0, n_names = 0, n_errors = errors->n_items;
        int r;

        paths = new0(char *, 1);
        if (!paths)
                return -ENOMEM;
        r = pick_file(root_fd, "dmemd.conf", errors, &paths, &n_paths);
        if (r < 0)
                return r;
        r = list_drop_in_names(root_fd, errors, &names, &n_names);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_names; i++) {
                if (i > 0 && streq(names[i], names[i - 1]))
                        continue;
                r = pick_file(root_fd, names[i], errors, &paths, &n_paths);
                if (r < 0)
                        return r;
        }
        if (errors->n_items > n_errors)
                return -EBADMSG;
        *ret = TAKE_PTR(paths);
        return 0;
}

static int load_below(int root_fd, const char *path, ConfigErrors *errors, Policy *policy) {
        _cleanup_free_ char *data = NULL, *shown = NULL;
        size_t size;
        int r;

        r = root_read_file(root_fd, path, &data, &size);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return report_unreadable_below(errors, path, r);
        if (asprintf(&shown, "/%s", path) < 0) {
                shown = NULL;
                return -ENOMEM;
        }
        return config_parse(shown, data, size, errors, policy);
}

static int load_host(int root_fd, ConfigErrors *errors, Policy *policy) {
        _cleanup_(strv_freep) char **paths = NULL;
        int r;

        r = config_list_files(root_fd, errors, &paths);
        if (r < 0)
                return r;
        for (char **p = paths; *p; p++) {
                r = load_below(root_fd, *p, errors, policy);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A pipe into which nobody writes, or a terminal, must not hang us. */
static int wait_for_input(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int r;

        do
                r = poll(&p, 1, SINGLE_TIMEOUT_MSEC);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return -errno;
        return r == 0 ? -ETIMEDOUT : 0;
}

static int read_single(int fd, char **ret, size_t *ret_size) {
        _cleanup_free_ char *data = NULL;
        size_t size = 0, room = 0;

        for (;;) {
                ssize_t n;
                int r;

                if (size == room) {
                        char *grown;

                        room = room == 0 ? 4096 : room * 2;
                        grown = realloc(data, room);
                        if (!grown)
                                return -ENOMEM;
                        data = grown;
                }
                r = wait_for_input(fd);
                if (r < 0)
                        return r;
                n = read(fd, data + size, room - size);
                if (n < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (size_t)n;
                if (size > ROOT_FILE_MAX)
                        return -EFBIG;
        }
        *ret = TAKE_PTR(data);
        *ret_size = size;
        return 0;
}

/* A file of our own file system; /dev/null and a pipe are fine. */
static int load_single(const char *path, ConfigErrors *errors, Policy *policy) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *data = NULL;
        size_t size = 0;
        int r;

        /* O_NONBLOCK: opening a FIFO waits for a writer otherwise. */
        fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        r = fd < 0 ? -errno : read_single(fd, &data, &size);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return report_unreadable(errors, path, r);
        return config_parse(path, data, size, errors, policy);
}

int config_load(int root_fd, const char *single_file, ConfigErrors *errors, Policy **ret) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        size_t n_errors = errors->n_items;
        int r;

        policy = policy_new();
        if (!policy)
                return -ENOMEM;
        r = single_file ? load_single(single_file, errors, policy)
                        : load_host(root_fd, errors, policy);
        if (r < 0)
                return r;
        r = check_policy(policy, errors);
        if (r < 0)
                return r;
        if (errors->n_items > n_errors)
                return -EBADMSG;
        *ret = TAKE_PTR(policy);
        return 0;
}
