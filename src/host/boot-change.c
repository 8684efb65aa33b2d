/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "host/boot-change.h"
#include "host/plan-json.h"
#include "host/state-json.h"
#include "host/state.h"
#include "plan/cmdline.h"

#define VERSION 1

DEFINE_CLEANUP(char **, strv_free);

void boot_change_done(BootChange *change) {
        boot_files_done(&change->settings);
        boot_files_done(&change->state);
        strv_free(change->arguments_before);
        strv_free(change->arguments_after);
        free(change->generated_before);
        *change = (BootChange){ 0 };
}

_printf_(2, 3) static void say(char **ret, const char *format, ...) {
        char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        free(*ret);
        *ret = text;
}

const char *boot_change_reason(int error) {
        switch (-error) {
        case ENOSPC:
        case EDQUOT:
                return "No space left on device; make room there";
        case EROFS:
                return "Read-only file system; mount it for writing";
        case EPERM:
                return "Operation not permitted; lsattr shows whether it or its folder is "
                       "immutable";
        case EBADFD:
                return "it is not a regular file; move it out of the way";
        case EISDIR:
                return "it is a folder; move it out of the way";
        case EFBIG:
                return "it is too large for a file of a boot loader";
        case ESTALE:
                return "somebody else changed it in the meantime; try again when they are done";
        default:
                return strerror(-error);
        }
}

/* flock() is seen in /proc/locks as `1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF`. */
static void find_holder(int fd, char **ret) {
        _cleanup_fclose_ FILE *locks = NULL;
        _cleanup_free_ char *line = NULL;
        size_t room = 0;
        struct stat st;

        locks = fstat(fd, &st) < 0 ? NULL : fopen("/proc/locks", "re");
        while (locks && getline(&line, &room, locks) > 0) {
                char path[64], name[64] = "another program";
                _cleanup_fclose_ FILE *comm = NULL;
                unsigned device_major, device_minor;
                unsigned long long inode;
                int pid;

                if (sscanf(line, "%*s FLOCK %*s WRITE %d %x:%x:%llu", &pid, &device_major,
                           &device_minor, &inode) != 4 ||
                    inode != st.st_ino || device_major != major(st.st_dev) ||
                    device_minor != minor(st.st_dev) || pid <= 0)
                        continue;
                (void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
                comm = fopen(path, "re");
                if (comm && fgets(name, sizeof(name), comm))
                        name[strcspn(name, "\n")] = '\0';
                say(ret, "%s with process id %d", name, pid);
                return;
        }
        say(ret, "another program");
}

int boot_change_lock(int root_fd, bool create, char **ret_holder) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        int r;

        fd = root_openat(root_fd, STATE_FOLDER, O_RDONLY | O_DIRECTORY, 0);
        if (fd == -ENOENT && create) {
                r = root_mkdir_p(root_fd, STATE_FOLDER);
                if (r < 0)
                        return r;
                fd = root_openat(root_fd, STATE_FOLDER, O_RDONLY | O_DIRECTORY, 0);
        }
        if (fd < 0)
                return fd;
        /* Whoever may write here could make us write anything anywhere */
        if (fstat(fd, &st) < 0)
                return -errno;
        if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022))
                return -EPERM;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return -errno;
                if (ret_holder)
                        find_holder(fd, ret_holder);
                return -EBUSY;
        }
        return TAKE_FD(fd);
}

/* The arguments of all entries that get some; NULL if they differ or there is no such entry. */
static int common_arguments(const BootEntries *entries, char ***ret) {
        _cleanup_(strv_freep) char **copy = NULL;
        const BootEntry *entry;

        entry = boot_entries_find_default(entries);
        if (!entry || boot_entries_check(entries, entry->arguments, NULL) <= 0) {
                *ret = NULL;
                return 0;
        }
        copy = new0(char *, strv_length(entry->arguments) + 1);
        if (!copy)
                return -ENOMEM;
        for (size_t i = 0; entry->arguments[i]; i++) {
                copy[i] = strdup(entry->arguments[i]);
                if (!copy[i])
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(copy);
        return 0;
}

int boot_change_look(BootLoader *loader, BootChange *change) {
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        const char *generated = boot_loader_generated(loader);
        int r;

        if (generated) {
                r = root_read_file(boot_loader_root(loader), generated, &change->generated_before,
                                   &change->generated_before_size);
                if (r < 0)
                        return r;
        }
        r = boot_loader_entries(loader, change->generated_before, change->generated_before_size,
                                &entries);
        if (r == -EBADMSG) {
                change->arguments_before = NULL;
                return 0;
        }
        return r < 0 ? r : common_arguments(&entries, &change->arguments_before);
}

static int add_strings(json_object *object, const char *key, char *const *strings) {
        json_object *array = NULL;
        int r;

        r = strv_to_json(strings, &array);
        if (r < 0)
                return r;
        if (!array)
                return json_object_object_add(object, key, NULL) < 0 ? -ENOMEM : 0;
        return json_add(object, key, array);
}

static int add_file(json_object *array, const char *path, const char *before, size_t before_size,
                    const char *after, size_t after_size) {
        json_object *object = json_object_new_object();
        int r;

        r = json_append(array, object);
        if (r >= 0)
                r = json_add(object, "path", json_object_new_string(path));
        if (r >= 0)
                r = json_add_bytes(object, "before", before, before_size);
        if (r >= 0)
                r = json_add_bytes(object, "after", after, after_size);
        return r;
}

static int add_files(json_object *object, const char *key, const BootFiles *files) {
        json_object *array = json_object_new_array();
        int r;

        r = json_add(object, key, array);
        for (size_t i = 0; i < files->n_items && r >= 0; i++) {
                const BootFile *file = files->items + i;

                r = add_file(array, file->path, file->before, file->before_size, file->after,
                             file->after_size);
        }
        return r;
}

static int add_loader(json_object *object, const BootLoader *loader) {
        const char *type = boot_loader_type_to_string(boot_loader_type(loader));
        const char *file = boot_loader_file(loader);
        int r;

        r = json_add(object, "boot_loader", json_object_new_string(type));
        return r < 0 ? r
                     : json_add_bytes(object, "boot_loader_file", file, file ? strlen(file) : 0);
}

static int change_to_text(const BootLoader *loader, const BootChange *change, char **ret) {
        _cleanup_(json_object_putp) json_object *object = NULL;
        int r;

        object = json_object_new_object();
        if (!object)
                return -ENOMEM;
        r = json_add(object, "version", json_object_new_int(VERSION));
        if (r >= 0)
                r = json_add(object, "operation", json_object_new_string(change->operation));
        if (r >= 0)
                r = add_loader(object, loader);
        if (r >= 0)
                r = add_strings(object, "arguments_before", change->arguments_before);
        if (r >= 0)
                r = add_strings(object, "arguments_after", change->arguments_after);
        if (r >= 0)
                r = add_files(object, "settings", &change->settings);
        if (r >= 0)
                r = add_files(object, "state", &change->state);
        if (r >= 0)
                r = json_add_bytes(object, "generated_before", change->generated_before,
                                   change->generated_before_size);
        return r < 0 ? r : state_json_to_text(object, ret);
}

static int get_files(json_object *object, const char *key, BootFiles *ret) {
        json_object *array;
        size_t n;

        if (!json_object_object_get_ex(object, key, &array) ||
            !json_object_is_type(array, json_type_array))
                return -EBADMSG;
        n = json_object_array_length(array);
        ret->items = new0(BootFile, n + 1);
        if (!ret->items)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                json_object *value = json_object_array_get_idx(array, i);
                BootFile *file = ret->items + ret->n_items++;
                int r;

                if (!json_object_is_type(value, json_type_object))
                        return -EBADMSG;
                r = state_json_get_text(value, "path", &file->path);
                if (r >= 0 && !file->path)
                        r = -EBADMSG;
                if (r >= 0)
                        r = state_json_get_bytes(value, "before", &file->before,
                                                 &file->before_size);
                if (r >= 0)
                        r = state_json_get_bytes(value, "after", &file->after, &file->after_size);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Only what a change of ours can have been about, whatever the text says. */
static int check_paths(const BootLoader *loader, const BootChange *change) {
        for (size_t i = 0; i < change->settings.n_items; i++)
                if (!boot_loader_owns(loader, change->settings.items[i].path))
                        return -EBADMSG;
        for (size_t i = 0; i < change->state.n_items; i++)
                if (!streq(change->state.items[i].path, STATE_APPLIED) &&
                    !streq(change->state.items[i].path, STATE_PREVIOUS))
                        return -EBADMSG;
        return 0;
}

static int change_from_text(const char *text, size_t size, BootChange *ret) {
        _cleanup_(json_object_putp) json_object *object = NULL;
        _cleanup_(boot_change_done) BootChange change = { .operation = "change" };
        int r;

        r = state_json_from_text(text, size, &object);
        if (r >= 0)
                r = state_json_get_strings(object, "arguments_before", &change.arguments_before);
        if (r >= 0)
                r = state_json_get_strings(object, "arguments_after", &change.arguments_after);
        if (r >= 0 && !change.arguments_after)
                r = -EBADMSG;
        if (r >= 0)
                r = get_files(object, "settings", &change.settings);
        if (r >= 0)
                r = get_files(object, "state", &change.state);
        if (r >= 0)
                r = state_json_get_bytes(object, "generated_before", &change.generated_before,
                                         &change.generated_before_size);
        if (r < 0)
                return r;
        *ret = change;
        change = (BootChange){ 0 };
        return 0;
}

static bool same_content(const char *a, size_t a_size, const char *b, size_t b_size) {
        if (!a || !b)
                return a == b;
        return a_size == b_size && memcmp(a, b, a_size) == 0;
}

/* Where grub.cfg with its hashed passwords may be part of the content. */
static mode_t file_mode(const char *path) {
        return streq(path, STATE_PREVIOUS) || streq(path, STATE_CHANGE) ? 0600 : 0644;
}

static int read_optional(int root_fd, const char *path, char **ret, size_t *ret_size) {
        int r;

        *ret = NULL;
        *ret_size = 0;
        r = root_read_file(root_fd, path, ret, ret_size);
        return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

/* Makes @path what @data says, NULL being no such file. What is so already becomes durable. */
static int put_file(int root_fd, const char *path, const char *data, size_t size) {
        _cleanup_free_ char *now = NULL, *folder = NULL;
        size_t now_size;
        char *slash;
        int r;

        r = read_optional(root_fd, path, &now, &now_size);
        if (r < 0)
                return r;
        if (same_content(now, now_size, data, size))
                return root_sync(root_fd, path);
        if (!data) {
                r = root_unlink(root_fd, path);
                return r < 0 ? r : 0;
        }
        folder = strdup(path);
        if (!folder)
                return -ENOMEM;
        slash = strrchr(folder, '/');
        if (!now && slash) {
                *slash = '\0';
                r = root_mkdir_p(root_fd, folder);
                if (r < 0)
                        return r;
        }
        return root_write_file(root_fd, path, data, size, file_mode(path));
}

/* As put_file(), but -ESTALE if @path is neither that nor what it was when we looked at it. */
static int replace_file(int root_fd, const char *path, const char *before, size_t before_size,
                        const char *data, size_t size) {
        _cleanup_free_ char *now = NULL;
        size_t now_size;
        int r;

        r = read_optional(root_fd, path, &now, &now_size);
        if (r < 0)
                return r;
        if (!same_content(now, now_size, before, before_size) &&
            !same_content(now, now_size, data, size))
                return -ESTALE;
        return put_file(root_fd, path, data, size);
}

static int put_after(int root_fd, const BootFiles *files, char **ret_problem) {
        for (size_t i = 0; i < files->n_items; i++) {
                const BootFile *file = files->items + i;
                int r;

                r = replace_file(root_fd, file->path, file->before, file->before_size, file->after,
                                 file->after_size);
                if (r < 0) {
                        say(ret_problem, "/%s: %s", file->path, boot_change_reason(r));
                        return r;
                }
        }
        return 0;
}

/* Puts back the files that are as we would have left them; what others made of them stays. */
static int put_before(int root_fd, const BootFiles *files, char **ret_problem) {
        int result = 0;

        for (size_t i = 0; i < files->n_items; i++) {
                const BootFile *file = files->items + i;
                int r;

                r = replace_file(root_fd, file->path, file->after, file->after_size, file->before,
                                 file->before_size);
                if (r < 0 && r != -ESTALE && r != -EBADFD && r != -EISDIR && result == 0) {
                        say(ret_problem, "/%s: %s", file->path, boot_change_reason(r));
                        result = r;
                }
        }
        return result;
}

/* The generated file goes back; if not @always, only if it is damaged or has other arguments. */
static int put_generated_before(BootLoader *loader, const BootChange *change, bool always,
                                char **ret_problem) {
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        const char *path = boot_loader_generated(loader);
        int r;

        if (!path || !change->generated_before)
                return 0;
        if (!always && change->arguments_before &&
            boot_loader_entries(loader, NULL, 0, &entries) >= 0 &&
            boot_entries_check(&entries, change->arguments_before, NULL) > 0) {
                r = root_sync(boot_loader_root(loader), path);
        } else
                r = put_file(boot_loader_root(loader), path, change->generated_before,
                             change->generated_before_size);
        if (r < 0)
                say(ret_problem, "/%s: %s", path, boot_change_reason(r));
        return r;
}

/* @always: nobody else can have changed the generated file since. */
static int roll_back(int root_fd, BootLoader *loader, const BootChange *change, bool always,
                     char **ret_problem) {
        int r, q;

        r = put_before(root_fd, &change->state, ret_problem);
        q = put_before(root_fd, &change->settings, ret_problem);
        r = r < 0 ? r : q;
        q = put_generated_before(loader, change, always, ret_problem);
        r = r < 0 ? r : q;
        if (r < 0)
                return r;
        r = root_unlink(root_fd, STATE_CHANGE);
        if (r < 0)
                say(ret_problem, "/" STATE_CHANGE ": %s", boot_change_reason(r));
        return r < 0 ? r : 0;
}

/* The last lines of what a program said, on one line. */
static void flatten(char *text) {
        for (char *c = text; *c != '\0'; c++)
                if ((unsigned char)*c < ' ' || *c == 0x7f)
                        *c = ' ';
        for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--)
                text[n - 1] = '\0';
}

static const char *last_lines(char *output) {
        size_t n;

        if (!output)
                return "";
        for (n = strlen(output); n > 0 && output[n - 1] == '\n'; n--)
                output[n - 1] = '\0';
        for (unsigned lines = 0; n > 0; n--)
                if (output[n - 1] == '\n' && ++lines == 3)
                        break;
        flatten(output + n);
        return output + n;
}

static int generate(BootLoader *loader, char **ret_text, size_t *ret_size, char **ret_problem) {
        _cleanup_free_ char *output = NULL;
        const char *tool = boot_loader_tool(loader), *last;
        int r;

        r = boot_loader_generate(loader, ret_text, ret_size, &output);
        if (r >= 0)
                return 0;
        last = last_lines(output);
        if (r == -EPROTO)
                say(ret_problem, "%s failed%s%s", tool, *last ? ": " : "", last);
        else if (r == -ETIMEDOUT)
                say(ret_problem, "%s does not come to an end%s%s", tool, *last ? ": " : "", last);
        else if (r == -EINTR)
                say(ret_problem, "interrupted while %s was running", tool);
        else if (r == -EPERM)
                say(ret_problem,
                    "%s: not allowed to run it inside the root directory, which takes the right to "
                    "mount and to chroot",
                    tool);
        else
                say(ret_problem, "%s cannot be run inside the root directory: %s", tool,
                    strerror(-r));
        return r;
}

/* What the generated file has to become. */
static int make_generated(BootLoader *loader, const BootChange *change, char **ret_text,
                          size_t *ret_size, char **ret_problem) {
        if (!change->without_tool)
                return generate(loader, ret_text, ret_size, ret_problem);
        return boot_loader_patch(loader, change->generated_before, change->generated_before_size,
                                 change->arguments_after, ret_text, ret_size);
}

/* Are the entries in @text, or those that the boot loader reads now, as wanted? */
static int check_entries(BootLoader *loader, const char *text, size_t size,
                         const BootChange *change, Findings *findings, char **ret_problem) {
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        _cleanup_(findings_done) Findings own = { 0 };
        int r;

        r = boot_loader_entries(loader, text, size, &entries);
        if (r < 0) {
                const char *path = boot_loader_generated(loader);

                say(ret_problem, "%s%s as it would be now: %s", path ? "/" : "",
                    path ? path : "the boot settings", r == -EBADMSG ? "not whole" : strerror(-r));
                return r;
        }
        r = change->as_before ? 1 : boot_entries_check(&entries, change->arguments_after, findings);
        if (r < 0)
                return r;
        if (r == 0) {
                r = boot_loader_explain_difference(loader, findings);
                if (r < 0)
                        return r;
                say(ret_problem, "Not every boot entry has the arguments that it should have");
                return -EBADMSG;
        }
        /* The way back is never barred. The old entries were checked, new ones may be different. */
        if (!streq(change->operation, "apply"))
                return 0;
        r = boot_entries_check_kernels(&entries, change->arguments_after, &own);
        if (r < 0)
                return r;
        if (findings_worst(&own) == SEVERITY_ERROR) {
                say(ret_problem, "%s", own.items[0].message);
                return -EOPNOTSUPP;
        }
        return 0;
}

static int regenerate(int root_fd, BootLoader *loader, const BootChange *change, Findings *findings,
                      char **ret_problem) {
        const char *path = boot_loader_generated(loader);
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = make_generated(loader, change, &text, &size, ret_problem);
        if (r < 0)
                return r;
        r = check_entries(loader, text, size, change, findings, ret_problem);
        if (r < 0)
                return r;
        r = replace_file(root_fd, path, change->generated_before, change->generated_before_size,
                         text, size);
        if (r < 0)
                say(ret_problem, "/%s: %s", path, boot_change_reason(r));
        return r;
}

static int carry_out(int root_fd, BootLoader *loader, const BootChange *change, Findings *findings,
                     char **ret_problem) {
        int r;

        r = put_after(root_fd, &change->settings, ret_problem);
        if (r < 0)
                return r;
        if (change->regenerate && boot_loader_generated(loader)) {
                r = regenerate(root_fd, loader, change, findings, ret_problem);
                if (r < 0)
                        return r;
        }
        r = check_entries(loader, NULL, 0, change, findings, ret_problem);
        if (r < 0)
                return r;
        return put_after(root_fd, &change->state, ret_problem);
}

/* What the terminal or systemd send has to wait until the files are in order. */
static void block_signals(sigset_t *ret_old) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        sigset_t wanted;

        (void)sigemptyset(&wanted);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void)sigaddset(&wanted, signals[i]);
        (void)sigprocmask(SIG_BLOCK, &wanted, ret_old);
}

static int write_change(int root_fd, const BootLoader *loader, const BootChange *change,
                        char **ret_problem) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = change_to_text(loader, change, &text);
        if (r < 0)
                return r;
        /* A larger one could not be read back, which is all that it is for */
        r = strlen(text) > ROOT_FILE_MAX ? -EFBIG : root_mkdir_p(root_fd, STATE_FOLDER);
        if (r >= 0)
                r = root_write_file(root_fd, STATE_CHANGE, text, strlen(text),
                                    file_mode(STATE_CHANGE));
        if (r < 0) {
                say(ret_problem, "/" STATE_CHANGE ": %s; nothing was changed",
                    boot_change_reason(r));
                (void)root_unlink(root_fd, STATE_CHANGE);
        }
        return r;
}

/* After @error. What is not as it was before is as somebody else left it, or is named. */
static void undo(int root_fd, BootLoader *loader, const BootChange *change, int error,
                 char **ret_problem) {
        _cleanup_free_ char *first = TAKE_PTR(*ret_problem), *second = NULL;
        int r;

        r = roll_back(root_fd, loader, change, error != -ESTALE, &second);
        if (r < 0)
                say(ret_problem,
                    "%s; and the settings of before could not be put back (%s): repair that and "
                    "run dmemctl %s again before the next reboot",
                    first ? first : strerror(-error), second ? second : strerror(-r),
                    change->operation);
        else
                say(ret_problem, "%s; everything %sis as it was before",
                    first ? first : strerror(-error), error == -ESTALE ? "else " : "");
}

static int run_blocked(int root_fd, BootLoader *loader, const BootChange *change,
                       Findings *findings, char **ret_problem) {
        int r;

        r = write_change(root_fd, loader, change, ret_problem);
        if (r < 0)
                return r;
        r = carry_out(root_fd, loader, change, findings, ret_problem);
        if (r < 0) {
                undo(root_fd, loader, change, r, ret_problem);
                return r;
        }
        /* What is left then is a note of a complete change: nothing that a boot could stumble on */
        r = root_unlink(root_fd, STATE_CHANGE);
        if (r < 0)
                say(ret_problem,
                    "/" STATE_CHANGE ": %s; the change itself is complete, and the next apply or "
                    "revert removes this file",
                    boot_change_reason(r));
        return 0;
}

int boot_change_run(int root_fd, BootLoader *loader, const BootChange *change, Findings *findings,
                    char **ret_problem) {
        sigset_t old;
        int r;

        block_signals(&old);
        r = run_blocked(root_fd, loader, change, findings, ret_problem);
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        return r;
}

static int policy_from_text(const char *text, size_t size, Policy **ret) {
        _cleanup_(json_object_putp) json_object *object = NULL;
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_free_ char *type = NULL, *file = NULL;
        int r;

        r = state_json_from_text(text, size, &object);
        if (r >= 0)
                r = state_json_get_text(object, "boot_loader", &type);
        if (r >= 0)
                r = state_json_get_text(object, "boot_loader_file", &file);
        if (r < 0)
                return r;
        policy = policy_new();
        if (!policy)
                return -ENOMEM;
        if (!type || boot_loader_type_from_string(type, &policy->boot_loader) < 0)
                return -EBADMSG;
        if (file && asprintf(&policy->boot_loader_file, "/%s", file) < 0) {
                policy->boot_loader_file = NULL;
                return -ENOMEM;
        }
        *ret = TAKE_PTR(policy);
        return 1;
}

int boot_change_policy(int root_fd, const char *path, Policy **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = state_read(root_fd, path, &text, &size);
        if (r >= 0)
                r = policy_from_text(text, size, ret);
        /* What is wrong with the file is said by those who need all of it */
        return r < 0 && r != -ENOMEM ? 0 : r;
}

int boot_change_interrupted(int root_fd) {
        return root_exists(root_fd, STATE_CHANGE);
}

/* Settings as the change wanted them, and entries that follow from them? */
static bool is_complete(int root_fd, BootLoader *loader, const BootChange *change) {
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };

        for (size_t i = 0; i < change->settings.n_items; i++) {
                const BootFile *file = change->settings.items + i;
                _cleanup_free_ char *now = NULL;
                size_t now_size;

                if (read_optional(root_fd, file->path, &now, &now_size) < 0 ||
                    !same_content(now, now_size, file->after, file->after_size))
                        return false;
        }
        return boot_loader_entries(loader, NULL, 0, &entries) >= 0 &&
               boot_entries_check(&entries, change->arguments_after, NULL) > 0;
}

/* The run that got so far was killed; what it renamed may be known to the kernel alone. */
static int make_durable(int root_fd, BootLoader *loader, const BootChange *change,
                        char **ret_problem) {
        const char *path = boot_loader_generated(loader);
        int r = 0;

        for (size_t i = 0; i < change->settings.n_items && r >= 0; i++) {
                r = root_sync(root_fd, change->settings.items[i].path);
                if (r < 0)
                        say(ret_problem, "/%s: %s", change->settings.items[i].path,
                            boot_change_reason(r));
        }
        if (r >= 0 && path) {
                r = root_sync(root_fd, path);
                if (r < 0)
                        say(ret_problem, "/%s: %s", path, boot_change_reason(r));
        }
        return r;
}

/* Temporary files of runs that were killed; the changes they were part of count as not begun. */
static int remove_stale(int root_fd, BootLoader *loader, char **ret_what) {
        static const char *const paths[] = { STATE_CHANGE, STATE_APPLIED, STATE_PREVIOUS };
        int r;

        r = boot_loader_clean(loader);
        for (size_t i = 0; i < ELEMENTSOF(paths) && r >= 0; i++)
                r = root_remove_stale(root_fd, paths[i]);
        if (r < 0)
                say(ret_what, "cannot remove temporary files of an interrupted change: %s",
                    boot_change_reason(r));
        return r < 0 ? r : 0;
}

int boot_change_recover(int root_fd, BootLoader *loader, char **ret_what) {
        _cleanup_(boot_change_done) BootChange change = { 0 };
        _cleanup_free_ char *text = NULL;
        sigset_t old;
        size_t size;
        int r;

        r = remove_stale(root_fd, loader, ret_what);
        if (r < 0)
                return r;
        r = state_read(root_fd, STATE_CHANGE, &text, &size);
        if (r == -ENOENT)
                return 0;
        if (r >= 0)
                r = change_from_text(text, size, &change);
        if (r >= 0)
                r = check_paths(loader, &change);
        if (r < 0) {
                say(ret_what,
                    "/" STATE_CHANGE ", left by an interrupted change: %s; look at the boot "
                    "loader's settings, remove that file, and try again",
                    r == -EBADMSG ? "it cannot be understood"
                    : r == -EPERM ? "it is not root's own"
                                  : strerror(-r));
                return r;
        }

        block_signals(&old);
        if (is_complete(root_fd, loader, &change)) {
                r = make_durable(root_fd, loader, &change, ret_what);
                if (r >= 0)
                        r = put_after(root_fd, &change.state, ret_what);
                if (r >= 0)
                        r = root_unlink(root_fd, STATE_CHANGE);
                if (r >= 0)
                        say(ret_what, "completed a change that had been interrupted");
        } else {
                r = roll_back(root_fd, loader, &change, false, ret_what);
                if (r >= 0)
                        say(ret_what, "put back what an interrupted change had begun to replace");
        }
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        if (r < 0 && !*ret_what)
                say(ret_what, "/" STATE_CHANGE ": %s", boot_change_reason(r));
        return r < 0 ? r : 0;
}

/* @written: what becomes of them is remembered, too. */
static int remember_files(json_object *array, const BootFiles *files, bool written) {
        for (size_t i = 0; i < files->n_items; i++) {
                const BootFile *file = files->items + i;
                json_object *object;
                int r;

                if (streq(file->path, STATE_PREVIOUS))
                        continue;
                object = json_object_new_object();
                r = json_append(array, object);
                if (r >= 0)
                        r = json_add(object, "path", json_object_new_string(file->path));
                if (r >= 0)
                        r = json_add_bytes(object, "content", file->before, file->before_size);
                if (r >= 0 && written)
                        r = json_add_bytes(object, "written", file->after, file->after_size);
                if (r < 0)
                        return r;
        }
        return 0;
}

int boot_change_remember(const BootLoader *loader, const BootChange *change, char **ret) {
        _cleanup_(json_object_putp) json_object *object = NULL;
        json_object *array;
        int r;

        object = json_object_new_object();
        if (!object)
                return -ENOMEM;
        r = json_add(object, "version", json_object_new_int(VERSION));
        if (r >= 0)
                r = add_loader(object, loader);
        array = json_object_new_array();
        if (r >= 0)
                r = json_add(object, "files", array);
        else
                (void)json_object_put(array);
        if (r >= 0)
                r = remember_files(array, &change->settings, true);
        if (r >= 0)
                r = remember_files(array, &change->state, false);
        return r < 0 ? r : state_json_to_text(object, ret);
}

/* Adds a file of previous.json; @written gets it with what the change had made of it. */
static int add_previous(int root_fd, BootLoader *loader, json_object *value, BootChange *change,
                        BootFiles *written, char **ret_problem) {
        _cleanup_free_ char *path = NULL, *content = NULL, *made = NULL;
        size_t size, made_size = 0;
        bool is_known;
        BootFiles *files;
        int r;

        if (!json_object_is_type(value, json_type_object))
                return -EBADMSG;
        r = state_json_get_text(value, "path", &path);
        if (r >= 0 && !path)
                r = -EBADMSG;
        if (r >= 0)
                r = state_json_get_bytes(value, "content", &content, &size);
        is_known = json_object_object_get_ex(value, "written", NULL);
        if (r >= 0 && is_known)
                r = state_json_get_bytes(value, "written", &made, &made_size);
        if (r < 0)
                return r;
        if (boot_loader_owns(loader, path))
                files = &change->settings;
        else if (streq(path, STATE_APPLIED))
                files = &change->state;
        else
                return -EBADMSG;
        r = boot_files_add(files, root_fd, path, NULL);
        if (r < 0) {
                say(ret_problem, "/%s: %s", path, boot_change_reason(r));
                return r;
        }
        files->items[files->n_items - 1].after = TAKE_PTR(content);
        files->items[files->n_items - 1].after_size = size;
        if (!is_known)
                return 0;
        r = boot_files_add(written, root_fd, path, NULL);
        if (r < 0)
                return r;
        written->items[written->n_items - 1].after = TAKE_PTR(made);
        written->items[written->n_items - 1].after_size = made_size;
        return 0;
}

/* May the whole of @file become @old again? Only if that has the arguments that it is to have. */
static int same_arguments(BootLoader *loader, const BootFile *file, const BootFile *old) {
        BootFile one = *file, other = *old;
        _cleanup_(strv_freep) char **a = NULL, **b = NULL;
        int r;

        r = boot_loader_asked(loader, &(BootFiles){ &one, 1 }, &a);
        if (r >= 0)
                r = boot_loader_asked(loader, &(BootFiles){ &other, 1 }, &b);
        return r < 0 ? r : arguments_equal(a, b);
}

static const BootFile *find_file(const BootFiles *files, const char *path) {
        for (size_t i = 0; i < files->n_items; i++)
                if (streq(files->items[i].path, path))
                        return files->items + i;
        return NULL;
}

/* Is it still what the change had made of it? */
static bool is_untouched(const BootFile *file, const BootFiles *written) {
        const BootFile *made = find_file(written, file->path);

        return made && same_content(file->before, file->before_size, made->after, made->after_size);
}

/* @file as it was before, whole, if nobody has touched it since. */
static int put_back_whole(BootLoader *loader, BootFile *file, const BootFiles *old_files,
                          const BootFiles *written) {
        const BootFile *old = find_file(old_files, file->path);
        char *content;
        int r;

        if (!old || !is_untouched(file, written))
                return 0;
        r = same_arguments(loader, file, old);
        if (r <= 0)
                return r;
        content = old->after ? strndup(old->after, old->after_size) : NULL;
        if (old->after && !content)
                return -ENOMEM;
        free(file->after);
        file->after = content;
        file->after_size = old->after_size;
        return 0;
}

/* Are the files of now those of then, and as the change had left them? */
static bool all_untouched(const BootFiles *now, const BootFiles *old, const BootFiles *written) {
        for (size_t i = 0; i < now->n_items; i++)
                if (!find_file(old, now->items[i].path))
                        return false;
        for (size_t i = 0; i < old->n_items; i++)
                if (!is_untouched(old->items + i, written))
                        return false;
        return true;
}

/*
 * Where others write, too, only our arguments go back, in whatever files there are now; but what
 * nobody has touched since becomes what it was, byte for byte.
 */
static int share_settings(BootLoader *loader, const BootFiles *written, BootChange *change) {
        _cleanup_(boot_files_done) BootFiles now = { 0 };
        BootFiles old;
        int r;

        r = boot_loader_prepare(loader, change->arguments_after, &now);
        if (r < 0)
                return r;
        if (all_untouched(&now, &change->settings, written)) {
                change->as_before = true;
                return 0;
        }
        for (size_t i = 0; i < now.n_items && r >= 0; i++)
                r = put_back_whole(loader, now.items + i, &change->settings, written);
        old = change->settings;
        change->settings = now;
        now = old;
        return r < 0 ? r : 0;
}

int boot_change_from_previous(int root_fd, BootLoader *loader, const char *text, size_t size,
                              BootChange *ret, char **ret_problem) {
        _cleanup_(json_object_putp) json_object *object = NULL;
        _cleanup_(boot_change_done) BootChange change = { .operation = "revert" };
        _cleanup_(boot_files_done) BootFiles written = { 0 };
        json_object *array;
        int r;

        r = state_json_from_text(text, size, &object);
        if (r < 0)
                return r;
        if (!json_object_object_get_ex(object, "files", &array) ||
            !json_object_is_type(array, json_type_array))
                return -EBADMSG;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                r = add_previous(root_fd, loader, json_object_array_get_idx(array, i), &change,
                                 &written, ret_problem);
                if (r < 0)
                        return r;
        }
        r = boot_files_add(&change.state, root_fd, STATE_PREVIOUS, NULL);
        if (r >= 0)
                r = boot_loader_asked(loader, &change.settings, &change.arguments_after);
        if (r >= 0 && boot_loader_shares_files(loader))
                r = share_settings(loader, &written, &change);
        if (r >= 0)
                r = boot_loader_going_back(loader, &change.settings);
        if (r < 0)
                return r;
        *ret = change;
        change = (BootChange){ 0 };
        return 0;
}
