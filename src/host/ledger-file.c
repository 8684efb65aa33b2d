/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <inttypes.h>
#include <json.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>

#include "basic/id-set.h"
#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "host/ledger-file.h"
#include "host/plan-json.h"
#include "host/poison-text.h"

#define VERSION 1
#define LOCK_NAME "lock"

/* Of one line; ours have three levels. */
#define DEPTH_MAX 8

/* What is larger is none of ours, and must not eat the host. */
#define FILE_SIZE_MAX (256 << 20)
#define LINE_MAX_BYTES (1 << 20)

#define LOCK_RETRY_USEC (20 * 1000)

DEFINE_CLEANUP(struct json_tokener *, json_tokener_free);

void ledger_file_done(LedgerFile *f) {
        ledger_free(f->ledger);
        *f = (LedgerFile){};
}

/* Writing */

static int write_text(FILE *f, const char *key, const char *text) {
        _cleanup_(json_object_putp) json_object *string = NULL;
        const char *quoted;

        if (!text)
                return 0;
        string = json_object_new_string(text);
        quoted = string ? json_object_to_json_string_ext(string, JSON_C_TO_STRING_NOSLASHESCAPE)
                        : NULL;
        if (!quoted)
                return -ENOMEM;
        fprintf(f, ",\"%s\":%s", key, quoted);
        return 0;
}

static json_object *dimm_to_json(const Dimm *dimm) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();

        if (!object ||
            json_object_object_add(object, "locator",
                                   dimm->locator ? json_object_new_string(dimm->locator) : NULL) <
                    0 ||
            json_object_object_add(object, "serial",
                                   dimm->serial ? json_object_new_string(dimm->serial) : NULL) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static int write_boot(FILE *f, const LedgerBoot *boot) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();
        json_object *dimms = NULL;
        int r = 0;

        if (!object ||
            json_object_object_add(object, "boot_id",
                                   boot->id[0] ? json_object_new_string(boot->id) : NULL) < 0)
                return -ENOMEM;
        if (boot->dimms_known) {
                dimms = json_object_new_array();
                r = json_add(object, "dimms", dimms);
        } else if (json_object_object_add(object, "dimms", NULL) < 0) {
                r = -ENOMEM;
        }
        for (size_t i = 0; i < boot->dimms.n_items && r >= 0; i++)
                r = json_append(dimms, dimm_to_json(&boot->dimms.items[i]));
        if (r < 0)
                return r;
        fprintf(f, "%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_NOSLASHESCAPE));
        return 0;
}

/* Not by json-c: there may be very many of them. Only texts need its quoting. */
static int write_unit(FILE *f, const LedgerUnit *unit) {
        int r;

        fprintf(f, "{\"address\":\"0x%" PRIx64 "\"", unit->address);
        if (unit->node != UNIT_NO_NODE)
                fprintf(f, ",\"node\":%u", unit->node);
        fprintf(f,
                ",\"state\":\"%s\",\"source\":\"%s\",\"first_seen_usec\":%" PRIu64
                ",\"last_seen_usec\":%" PRIu64 ",\"boot\":%u",
                unit_state_to_string(unit->state), unit_source_to_string(unit->source),
                unit->first_seen, unit->last_seen, unit->boot);
        if (unit->forgotten != LEDGER_NO_BOOT)
                fprintf(f, ",\"forgotten\":%u", unit->forgotten);
        if (unit->retired)
                fputs(",\"retired\":true", f);
        if (!unit->told)
                fputs(",\"told\":false", f);
        r = write_text(f, "file", unit->user.file);
        if (r >= 0 && unit->user.device) {
                r = write_text(f, "device", unit->user.device);
                fprintf(f, ",\"inode\":%" PRIu64 ",\"offset\":\"0x%" PRIx64 "\"", unit->user.inode,
                        unit->user.offset);
        }
        if (r >= 0)
                r = write_text(f, "processes", unit->user.processes);
        fputs("}\n", f);
        return r;
}

int ledger_write(const Ledger *l, FILE *f) {
        int r = 0;

        errno = 0;
        fprintf(f, "{\"version\":%d,\"units\":%zu}\n", VERSION, l->n_units);
        for (size_t i = 0; i < l->n_boots && r >= 0; i++)
                r = write_boot(f, &l->boots[i]);
        for (size_t i = 0; i < l->n_units && r >= 0; i++)
                r = write_unit(f, &l->units[i]);
        if (r < 0)
                return r;
        /* What failed was the disk, whatever was called after that */
        if (ferror(f))
                return errno > 0 ? -errno : -EIO;
        return 0;
}

/* Reading. What a line does not say is left as it is; the return value says if it should have. */

static bool get_u64(json_object *object, const char *key, uint64_t max, uint64_t *ret) {
        json_object *value;
        uint64_t number;

        if (!json_object_object_get_ex(object, key, &value) ||
            !json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
                return false;
        number = json_object_get_uint64(value);
        if (number > max)
                return false;
        *ret = number;
        return true;
}

static bool get_unsigned(json_object *object, const char *key, unsigned max, unsigned *ret) {
        uint64_t number;

        if (!get_u64(object, key, max, &number))
                return false;
        *ret = (unsigned)number;
        return true;
}

static const char *get_string(json_object *object, const char *key) {
        json_object *value;

        if (!json_object_object_get_ex(object, key, &value) ||
            !json_object_is_type(value, json_type_string))
                return NULL;
        return json_object_get_string(value);
}

static bool get_hex(json_object *object, const char *key, uint64_t *ret) {
        const char *text = get_string(object, key);

        return text && startswith(text, "0x") && parse_hex(text, ret) >= 0;
}

/* Who wrote the file must not be able to reach the terminal of who reads it. */
static int get_text(json_object *object, const char *key, char **ret) {
        const char *text = get_string(object, key);

        if (!text)
                return 0;
        free(*ret);
        *ret = text_printable(text);
        return *ret ? 0 : -ENOMEM;
}

static bool has(json_object *object, const char *key) {
        return json_object_object_get_ex(object, key, NULL);
}

/* Returns 1 if the line is as it should be, 0 if not, or -ENOMEM. */
static int read_dimms(json_object *array, LedgerBoot *boot) {
        size_t n = json_object_array_length(array);
        int good = 1;

        boot->dimms.items = new0(Dimm, n + 1);
        if (!boot->dimms.items)
                return -ENOMEM;
        boot->dimms_known = true;
        for (size_t i = 0; i < n; i++) {
                json_object *object = json_object_array_get_idx(array, i);
                Dimm *dimm = &boot->dimms.items[i];

                boot->dimms.n_items++;
                if (!json_object_is_type(object, json_type_object)) {
                        good = 0;
                        continue;
                }
                if (get_text(object, "locator", &dimm->locator) < 0 ||
                    get_text(object, "serial", &dimm->serial) < 0)
                        return -ENOMEM;
        }
        return good;
}

static bool is_boot_id(const char *text) {
        return strlen(text) < BOOT_ID_MAX && text[strspn(text, "0123456789abcdef-")] == '\0';
}

static int read_boot(json_object *object, Ledger *l) {
        const char *id = get_string(object, "boot_id");
        json_object *dimms;
        LedgerBoot *grown;

        grown = reallocarray(l->boots, l->n_boots + 1, sizeof(LedgerBoot));
        if (!grown)
                return -ENOMEM;
        l->boots = grown;
        /* In any case, as units count on the index */
        l->boots[l->n_boots] = (LedgerBoot){};
        if (id && is_boot_id(id))
                strcpy(l->boots[l->n_boots].id, id);
        l->n_boots++;
        if (id && !is_boot_id(id))
                return 0;
        if (!json_object_object_get_ex(object, "dimms", &dimms) || !dimms)
                return 1;
        if (!json_object_is_type(dimms, json_type_array))
                return 0;
        return read_dimms(dimms, &l->boots[l->n_boots - 1]);
}

static int read_user(json_object *object, UnitUser *user) {
        int r;

        r = get_text(object, "file", &user->file);
        if (r >= 0)
                r = get_text(object, "processes", &user->processes);
        if (r < 0 || !has(object, "device"))
                return r < 0 ? r : 1;
        if (!get_u64(object, "inode", UINT64_MAX, &user->inode) ||
            !get_hex(object, "offset", &user->offset)) {
                user->inode = user->offset = 0;
                return 0;
        }
        r = get_text(object, "device", &user->device);
        return r < 0 ? r : user->device != NULL;
}

static int read_unit(json_object *object, Ledger *l, size_t *room) {
        const char *state = get_string(object, "state"), *source = get_string(object, "source");
        LedgerUnit unit = {
                .node = UNIT_NO_NODE,
                .state = UNIT_OUTSIDE,
                .boot = LEDGER_NO_BOOT,
                .forgotten = LEDGER_NO_BOOT,
                .told = true,
                .saved = true,
        };
        json_object *flag;
        bool good = true;
        int r;

        if (!get_hex(object, "address", &unit.address) || unit.address % UNIT_SIZE != 0 ||
            l->n_units >= LEDGER_UNITS_MAX)
                return 0;
        if (has(object, "node"))
                good &= get_unsigned(object, "node", ID_SET_MAX - 1, &unit.node);
        good &= state && unit_state_from_string(state, &unit.state) >= 0;
        good &= source && unit_source_from_string(source, &unit.source) >= 0;
        good &= get_u64(object, "first_seen_usec", UINT64_MAX, &unit.first_seen);
        good &= get_u64(object, "last_seen_usec", UINT64_MAX, &unit.last_seen);
        good &= get_unsigned(object, "boot", LEDGER_NO_BOOT - 1, &unit.boot);
        if (has(object, "forgotten"))
                good &= get_unsigned(object, "forgotten", LEDGER_NO_BOOT - 1, &unit.forgotten);
        if (json_object_object_get_ex(object, "told", &flag))
                unit.told = json_object_get_boolean(flag);
        if (json_object_object_get_ex(object, "retired", &flag))
                unit.retired = json_object_get_boolean(flag);

        if (l->n_units == *room) {
                LedgerUnit *grown;

                *room = *room == 0 ? 64 : *room * 2;
                grown = reallocarray(l->units, *room, sizeof(LedgerUnit));
                if (!grown)
                        return -ENOMEM;
                l->units = grown;
        }
        l->units[l->n_units++] = unit;
        r = read_user(object, &l->units[l->n_units - 1].user);
        return r < 0 ? r : good && r > 0;
}

static int compare_units(const void *a, const void *b) {
        const LedgerUnit *x = a, *y = b;

        return (x->address > y->address) - (x->address < y->address);
}

/* Restores the invariants of a ledger. Returns true if none was broken, but for the order. */
static int check_ledger(Ledger *l) {
        unsigned unknown = LEDGER_NO_BOOT;
        size_t n = 0, n_read = l->n_units;
        bool good = true;

        if (l->n_units > 1)
                qsort(l->units, l->n_units, sizeof(LedgerUnit), compare_units);
        for (size_t i = 0; i < n_read; i++) {
                LedgerUnit *unit = &l->units[i];

                if (n > 0 && l->units[n - 1].address == unit->address) {
                        unit_user_done(&unit->user);
                        good = false;
                        continue;
                }
                if (unit->forgotten != LEDGER_NO_BOOT && unit->forgotten >= l->n_boots) {
                        unit->forgotten = LEDGER_NO_BOOT;
                        good = false;
                }
                if (unit->boot >= l->n_boots) {
                        /* One that is in no boot of ours has an id that nobody has */
                        if (unknown == LEDGER_NO_BOOT && ledger_add_boot(l, "", &unknown) < 0)
                                return -ENOMEM;
                        unit->boot = unknown;
                        good = false;
                }
                l->units[n++] = *unit;
        }
        l->n_units = n;
        return good;
}

static int read_line(json_object *object, LedgerFile *f, size_t *room) {
        if (has(object, "address"))
                return read_unit(object, f->ledger, room);
        if (has(object, "boot_id"))
                return read_boot(object, f->ledger);
        return f->condition == LEDGER_NEWER; /* what it is for only they know */
}

static json_object *parse_line(struct json_tokener *tokener, const char *line, size_t size) {
        json_object *object;

        json_tokener_reset(tokener);
        object = json_tokener_parse_ex(tokener, line, (int)size);
        if (object && json_object_is_type(object, json_type_object) &&
            json_tokener_get_parse_end(tokener) == size)
                return object;
        (void)json_object_put(object);
        return NULL;
}

/* The first line. Returns true if it is one of ours, or of a later version. */
static bool read_header(json_object *object, LedgerFile *f, uint64_t *ret_units) {
        uint64_t version;

        if (!get_u64(object, "version", UINT64_MAX, &version) || version == 0)
                return false;
        if (version > VERSION) {
                f->condition = LEDGER_NEWER;
                f->version = version;
                return true;
        }
        return get_u64(object, "units", UINT64_MAX, ret_units);
}

static int read_lines(FILE *f, LedgerFile *ret) {
        _cleanup_(json_tokener_freep) struct json_tokener *tokener = NULL;
        uint64_t n_units = UINT64_MAX;
        _cleanup_free_ char *line = NULL;
        size_t room = 0, line_room = 0, n_lines = 0;
        bool good = true;
        ssize_t length;
        int r;

        tokener = json_tokener_new_ex(DEPTH_MAX);
        if (!tokener)
                return -ENOMEM;
        while ((length = getline(&line, &line_room, f)) > 0) {
                _cleanup_(json_object_putp) json_object *object = NULL;

                /* The last line, too, ends with a newline; else it is not whole. */
                good &= line[length - 1] == '\n';
                if (line[length - 1] == '\n')
                        line[--length] = '\0';
                object = length < LINE_MAX_BYTES ? parse_line(tokener, line, (size_t)length) : NULL;
                if (n_lines++ == 0 && object && read_header(object, ret, &n_units))
                        continue;
                r = object ? read_line(object, ret, &room) : 0;
                if (r < 0)
                        return r;
                good &= r > 0;
        }
        if (ferror(f))
                return -EIO;
        if (ret->condition == LEDGER_NEWER)
                return check_ledger(ret->ledger) < 0 ? -ENOMEM : 0;
        good &= n_units == ret->ledger->n_units;
        r = check_ledger(ret->ledger);
        if (r < 0)
                return r;
        ret->condition = good && r > 0 ? LEDGER_GOOD : LEDGER_DAMAGED;
        return 0;
}

int ledger_read(FILE *f, LedgerFile *ret) {
        LedgerFile file = {};
        int r;

        file.ledger = ledger_new();
        if (!file.ledger)
                return -ENOMEM;
        r = read_lines(f, &file);
        if (r < 0) {
                ledger_file_done(&file);
                return r;
        }
        *ret = file;
        return 0;
}

/* The file */

static int open_folder(int root_fd) {
        return root_openat(root_fd, LEDGER_FOLDER, O_RDONLY | O_DIRECTORY, 0);
}

/* Only a file of its own, and not what a link leads to. */
static int open_file(int root_fd, struct stat *ret_st) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        fd = root_openat(root_fd, LEDGER_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EBADMSG;
        if (st.st_size > FILE_SIZE_MAX)
                return -EBADMSG;
        *ret_st = st;
        return TAKE_FD(fd);
}

int ledger_file_load(int root_fd, LedgerFile *ret) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_fclose_ FILE *f = NULL;
        struct stat st = {};
        int r;

        fd = open_file(root_fd, &st);
        r = fd;
        if (fd >= 0) {
                f = fdopen(fd, "r");
                if (!f)
                        return -ENOMEM;
                (void)TAKE_FD(fd);
                r = ledger_read(f, ret);
        }
        if (r >= 0) {
                ret->st = st;
                return 0;
        }
        if (r == -ENOMEM)
                return r;
        *ret = (LedgerFile){ .ledger = ledger_new(), .st = st };
        if (!ret->ledger)
                return -ENOMEM;
        /* -ELOOP: a link in its place */
        if (r == -ENOENT) {
                ret->condition = LEDGER_ABSENT;
        } else if (r == -EBADMSG || r == -ELOOP || r == -ENXIO) {
                ret->condition = LEDGER_DAMAGED;
        } else {
                ret->condition = LEDGER_UNREADABLE;
                ret->error = r;
        }
        return 0;
}

bool ledger_file_changed(int root_fd, const LedgerFile *f) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        fd = root_openat(root_fd, LEDGER_FILE, O_PATH | O_NOFOLLOW, 0);
        if (fd < 0 || fstat(fd, &st) < 0)
                return f->st.st_ino != 0;
        return st.st_ino != f->st.st_ino || st.st_dev != f->st.st_dev ||
               st.st_size != f->st.st_size || st.st_mtim.tv_sec != f->st.st_mtim.tv_sec ||
               st.st_mtim.tv_nsec != f->st.st_mtim.tv_nsec;
}

char *ledger_file_problem(const LedgerFile *f) {
        char *text = NULL;
        int n = -1;

        switch (f->condition) {
        case LEDGER_DAMAGED:
                n = asprintf(&text,
                             "/" LEDGER_FILE " is damaged; %zu %s of poisoned memory could be "
                             "read in it",
                             f->ledger->n_units, f->ledger->n_units == 1 ? "unit" : "units");
                break;
        case LEDGER_NEWER:
                n = asprintf(&text,
                             "/" LEDGER_FILE " was written by a later version of dmemd (its "
                             "version is %" PRIu64 ", ours %d); it is read and not written",
                             f->version, VERSION);
                break;
        case LEDGER_UNREADABLE:
                n = asprintf(&text, "/" LEDGER_FILE " cannot be read: %s; it is not written either",
                             strerror(-f->error));
                break;
        case LEDGER_ABSENT:
        case LEDGER_GOOD:
        default:
                break;
        }
        return n < 0 ? NULL : text;
}

static uint64_t monotonic_usec(void) {
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Nobody but the owner of the folder may open the lock, else anybody could hold it. */
static int open_lock(int root_fd, bool create) {
        _cleanup_close_ int folder_fd = -EBADF, fd = -EBADF;
        struct stat folder, st;
        int r;

        if (create) {
                r = root_mkdir_p(root_fd, LEDGER_FOLDER);
                if (r < 0)
                        return r;
        }
        folder_fd = open_folder(root_fd);
        if (folder_fd < 0)
                return folder_fd;
        fd = openat(folder_fd, LOCK_NAME, O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
                    0600);
        if (fd < 0 || fstat(folder_fd, &folder) < 0 || fstat(fd, &st) < 0)
                return -errno;
        if ((st.st_uid != folder.st_uid || st.st_gid != folder.st_gid) &&
            fchown(fd, folder.st_uid, folder.st_gid) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int ledger_lock(int root_fd, bool create, uint64_t timeout_usec) {
        uint64_t end = monotonic_usec() + timeout_usec;
        _cleanup_close_ int fd = -EBADF;

        fd = open_lock(root_fd, create);
        if (fd < 0)
                return fd;
        while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK && errno != EINTR)
                        return -errno;
                if (monotonic_usec() >= end)
                        return -EBUSY;
                (void)usleep(LOCK_RETRY_USEC);
        }
        return TAKE_FD(fd);
}

int ledger_file_set_aside(int root_fd, char **ret_name) {
        _cleanup_close_ int folder_fd = -EBADF;
        _cleanup_free_ char *name = NULL;
        char stamp[sizeof("20261126T001122Z")] = "";
        time_t now = time(NULL);
        struct tm utc;

        folder_fd = open_folder(root_fd);
        if (folder_fd < 0)
                return folder_fd;
        if (gmtime_r(&now, &utc))
                (void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &utc);
        for (unsigned i = 1; i < 100; i++) {
                free(TAKE_PTR(name));
                if (asprintf(&name, LEDGER_NAME ".damaged-%s%s%.0u", stamp, i > 1 ? "-" : "",
                             i > 1 ? i : 0) < 0)
                        return -ENOMEM;
                if (renameat2(folder_fd, LEDGER_NAME, folder_fd, name, RENAME_NOREPLACE) >= 0)
                        break;
                if (errno != EEXIST)
                        return -errno;
        }
        (void)fsync(folder_fd);
        if (asprintf(ret_name, "/" LEDGER_FOLDER "/%s", name) < 0)
                return -ENOMEM;
        return 0;
}

int ledger_file_open(int root_fd, bool create, uint64_t timeout_usec, LedgerFile *ret,
                     int *ret_lock, char **ret_said) {
        _cleanup_free_ char *problem = NULL, *aside = NULL, *said = NULL;
        _cleanup_(ledger_file_done) LedgerFile f = {};
        _cleanup_close_ int lock = -EBADF;
        int r;

        lock = ledger_lock(root_fd, create, timeout_usec);
        if (lock < 0)
                return lock;
        r = ledger_file_load(root_fd, &f);
        if (r < 0)
                return r;
        problem = ledger_file_problem(&f);
        if (f.condition == LEDGER_DAMAGED) {
                r = ledger_file_set_aside(root_fd, &aside);
                if (r < 0)
                        return r;
                f.st = (struct stat){};
                for (size_t i = 0; i < f.ledger->n_units; i++)
                        f.ledger->units[i].dirty = true;
                if (asprintf(&said, "%s; it is kept as %s", problem ?: "", aside) < 0)
                        return -ENOMEM;
        } else {
                said = TAKE_PTR(problem);
        }
        *ret = f;
        f = (LedgerFile){};
        *ret_lock = TAKE_FD(lock);
        *ret_said = TAKE_PTR(said);
        return 0;
}

static int fill_file(const void *data, FILE *f) {
        return ledger_write(data, f);
}

int ledger_file_save(int root_fd, LedgerFile *f) {
        _cleanup_close_ int folder_fd = -EBADF;
        int r;

        folder_fd = open_folder(root_fd);
        if (folder_fd < 0)
                return folder_fd;
        r = root_write_stream(folder_fd, LEDGER_NAME, fill_file, f->ledger, 0644);
        if (r < 0)
                return r;
        if (fstatat(folder_fd, LEDGER_NAME, &f->st, AT_SYMLINK_NOFOLLOW) < 0)
                f->st = (struct stat){};
        f->condition = LEDGER_GOOD;
        ledger_mark_saved(f->ledger);
        return 0;
}

void host_load_boot_id(int root_fd, char ret[static BOOT_ID_MAX]) {
        _cleanup_free_ char *text = NULL;

        ret[0] = '\0';
        if (root_read_text(root_fd, "proc/sys/kernel/random/boot_id", &text) >= 0 &&
            is_boot_id(text))
                strcpy(ret, text);
}
