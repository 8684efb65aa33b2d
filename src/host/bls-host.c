/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "host/bls-host.h"
#include "host/grub-config.h"
#include "host/host-file.h"
#include "host/unified-image.h"

#define ENTRIES "loader/entries"
#define IMAGES "EFI/Linux"

/* Of systemd-boot: https://systemd.io/BOOT_LOADER_INTERFACE/ */
#define LOADER_VARIABLE "sys/firmware/efi/efivars/%s-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

#define MACHINE_ID_LENGTH 32

DEFINE_CLEANUP(char **, strv_free);

BlsHost *bls_host_free(BlsHost *host) {
        if (!host)
                return NULL;
        strv_free(host->folders);
        free(host->machine_id);
        free(host->token);
        free(host->config);
        free(host->environment);
        free(host);
        return NULL;
}

static bool has_suffix(const char *name, const char *suffix) {
        size_t length = strlen(name), n = strlen(suffix);

        return name[0] != '.' && length > n && streq(name + length - n, suffix);
}

/* The names in @folder/@sub that end in @suffix; none if there is no such folder. */
static int list(int root_fd, const char *folder, const char *sub, const char *suffix, char ***ret) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_free_ char *path = NULL;
        size_t n = 0;
        int r;

        if (asprintf(&path, "%s/%s", folder, sub) < 0)
                return -ENOMEM;
        r = root_list(root_fd, path, "", &names);
        if (r == -ENOENT || r == -ENOTDIR) {
                names = new0(char *, 1);
                r = names ? 0 : -ENOMEM;
        }
        if (r < 0)
                return r;
        for (char **name = names; *name; name++)
                if (has_suffix(*name, suffix))
                        names[n++] = *name;
                else
                        free(*name);
        names[n] = NULL;
        *ret = TAKE_PTR(names);
        return 0;
}

/* `NAME=value` or `NAME="value"` of a small shell file; NULL if it does not say. */
static int read_assignment(int root_fd, const char *path, const char *name, char **ret) {
        _cleanup_free_ char *text = NULL;
        char *value = NULL;
        int r;

        *ret = NULL;
        r = host_read_fact(root_fd, path, &text);
        if (r < 0 || !text)
                return r;
        for (char *line = text, *next; line; line = next) {
                const char *start;

                next = strchr(line, '\n');
                if (next)
                        *next++ = '\0';
                start = startswith(line + strspn(line, " \t"), name);
                if (start && *start == '=')
                        value = line + (start + 1 - line);
        }
        if (!value)
                return 0;
        value += strspn(value, "\"'");
        value[strcspn(value, "\"' \t\r")] = '\0';
        if (*value == '\0')
                return 0;
        *ret = strdup(value);
        return *ret ? 0 : -ENOMEM;
}

static int read_first_word(int root_fd, const char *path, char **ret) {
        _cleanup_free_ char *text = NULL;
        char *word;
        int r;

        *ret = NULL;
        r = host_read_fact(root_fd, path, &text);
        if (r < 0 || !text)
                return r;
        word = text + strspn(text, " \t\r\n");
        word[strcspn(word, " \t\r\n")] = '\0';
        if (*word == '\0')
                return 0;
        *ret = strdup(word);
        return *ret ? 0 : -ENOMEM;
}

/* In the order in which kernel-install looks; its install.conf has the last word. */
static int find_machine_id(BlsHost *host, int root_fd) {
        int r;

        r = read_assignment(root_fd, "etc/kernel/install.conf", "MACHINE_ID", &host->machine_id);
        if (r >= 0 && !host->machine_id)
                r = read_assignment(root_fd, "etc/machine-info", "KERNEL_INSTALL_MACHINE_ID",
                                    &host->machine_id);
        if (r >= 0 && !host->machine_id)
                r = read_first_word(root_fd, "etc/machine-id", &host->machine_id);
        if (r >= 0 && host->machine_id && strlen(host->machine_id) != MACHINE_ID_LENGTH) {
                free(host->machine_id);
                host->machine_id = NULL;
        }
        return r;
}

static bool begins_with_token(const char *name, const char *token) {
        const char *rest = token ? startswith(name, token) : NULL;

        return rest && *rest == '-';
}

/* Does any entry or image begin with `TOKEN-`? */
static int is_used(const BlsHost *host, int root_fd, const char *token) {
        for (char **folder = host->folders; *folder; folder++) {
                for (unsigned i = 0; i < 2; i++) {
                        _cleanup_(strv_freep) char **names = NULL;
                        int r;

                        r = i == 0 ? list(root_fd, *folder, ENTRIES, ".conf", &names)
                                   : list(root_fd, *folder, IMAGES, ".efi", &names);
                        if (r < 0)
                                return r;
                        for (char **name = names; *name; name++)
                                if (begins_with_token(*name, token))
                                        return 1;
                }
        }
        return 0;
}

/* Takes @token over if there are entries of that name. */
static int try_token(BlsHost *host, int root_fd, char *token) {
        _cleanup_free_ char *own = token;
        int r;

        if (!own || host->token)
                return 0;
        r = is_used(host, root_fd, own);
        if (r > 0)
                host->token = TAKE_PTR(own);
        return r < 0 ? r : 0;
}

/* See kernel-install(8), --entry-token=auto. */
static int find_token(BlsHost *host, int root_fd) {
        static const char *const release[] = { "etc/os-release", "usr/lib/os-release" };
        static const char *const names[] = { "IMAGE_ID", "ID" };
        char *token = NULL;
        int r;

        r = read_first_word(root_fd, "etc/kernel/entry-token", &token);
        if (r >= 0)
                r = try_token(host, root_fd, token);
        if (r >= 0 && host->machine_id) {
                token = strdup(host->machine_id);
                r = token ? try_token(host, root_fd, token) : -ENOMEM;
        }
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                for (size_t j = 0; j < ELEMENTSOF(release) && r >= 0; j++) {
                        r = read_assignment(root_fd, release[j], names[i], &token);
                        if (r >= 0)
                                r = try_token(host, root_fd, token);
                }
        if (r >= 0) {
                token = strdup("Default");
                r = token ? try_token(host, root_fd, token) : -ENOMEM;
        }
        return r;
}

/* Adds @folder unless it has nothing to boot, or is one of those that we have by another name. */
static int add_folder(BlsHost *host, int root_fd, const char *folder) {
        _cleanup_(strv_freep) char **entries = NULL, **images = NULL;
        size_t n = strv_length(host->folders);
        _cleanup_close_ int fd = -EBADF;
        struct stat st, other;
        char **grown;
        int r;

        fd = root_openat(root_fd, folder, O_PATH | O_DIRECTORY, 0);
        if (fd < 0)
                return fd == -ENOENT || fd == -ENOTDIR || fd == -EACCES ? 0 : fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        for (size_t i = 0; i < n; i++) {
                _cleanup_close_ int other_fd =
                        root_openat(root_fd, host->folders[i], O_PATH | O_DIRECTORY, 0);

                if (other_fd >= 0 && fstat(other_fd, &other) >= 0 && st.st_dev == other.st_dev &&
                    st.st_ino == other.st_ino)
                        return 0;
        }
        r = list(root_fd, folder, ENTRIES, ".conf", &entries);
        if (r >= 0)
                r = list(root_fd, folder, IMAGES, ".efi", &images);
        if (r < 0)
                return r;
        if (!entries[0] && !images[0])
                return 0;
        grown = reallocarray(host->folders, n + 2, sizeof(char *));
        if (!grown)
                return -ENOMEM;
        host->folders = grown;
        grown[n + 1] = NULL;
        grown[n] = strdup(folder);
        return grown[n] ? 0 : -ENOMEM;
}

static int find_folders(BlsHost *host, int root_fd) {
        static const char *const usual[] = { "efi", "boot", "boot/efi" };
        _cleanup_free_ char *named = NULL;
        int r;

        host->folders = new0(char *, 1);
        if (!host->folders)
                return -ENOMEM;
        r = read_assignment(root_fd, "etc/kernel/install.conf", "BOOT_ROOT", &named);
        if (r >= 0 && named && named[strspn(named, "/")] != '\0')
                r = add_folder(host, root_fd, named + strspn(named, "/"));
        for (size_t i = 0; i < ELEMENTSOF(usual) && r >= 0; i++)
                r = add_folder(host, root_fd, usual[i]);
        if (r < 0)
                return r;
        return host->folders[0] ? 0 : -ENOENT;
}

/* Takes @path if it is there; returns 1 if so. */
static int take_if_exists(int root_fd, const char *path, char **ret) {
        int r;

        if (*ret)
                return 0;
        r = root_exists(root_fd, path);
        if (r <= 0)
                return r == -EACCES ? 0 : r;
        *ret = strdup(path);
        return *ret ? 1 : -ENOMEM;
}

/* A grub.cfg with `blscfg` in it. Returns 1, 0 if there is none; @ret_other: some other is. */
static int find_grub_config(BlsHost *host, int root_fd, bool *ret_other) {
        static const char *const paths[] = { "boot/grub2/grub.cfg", "etc/grub2.cfg",
                                             "etc/grub2-efi.cfg", "boot/grub/grub.cfg" };
        int r;

        *ret_other = false;
        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                r = host_file_has_line(root_fd, paths[i], "blscfg");
                if (r > 0) {
                        host->config = strdup(paths[i]);
                        return host->config ? 1 : -ENOMEM;
                }
                if (r == 0 || r == -EACCES)
                        *ret_other = true;
        }
        return 0;
}

/* An entry as only GRUB has it: keys that begin with `grub_`, variables in its options. */
static int has_grub_entries(const BlsHost *host, int root_fd) {
        for (char **folder = host->folders; *folder; folder++) {
                _cleanup_(strv_freep) char **names = NULL;
                int r;

                r = list(root_fd, *folder, ENTRIES, ".conf", &names);
                for (char **name = names; r >= 0 && *name; name++) {
                        _cleanup_free_ char *path = NULL;

                        if (asprintf(&path, "%s/" ENTRIES "/%s", *folder, *name) < 0)
                                return -ENOMEM;
                        if (host_file_has_line(root_fd, path, "grub_") > 0 ||
                            host_file_has_line(root_fd, path, "options $") > 0)
                                return 1;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Where GRUB reads the entries, only those in boot/ count, if there are some. */
static void keep_boot_folder(BlsHost *host) {
        size_t n = strv_length(host->folders);

        for (size_t i = 0; i < n; i++)
                if (streq(host->folders[i], "boot")) {
                        char *boot = host->folders[i];

                        host->folders[i] = host->folders[0];
                        host->folders[0] = boot;
                        for (size_t j = 1; j < n; j++) {
                                free(host->folders[j]);
                                host->folders[j] = NULL;
                        }
                        return;
                }
}

static int find_reader(BlsHost *host, int root_fd) {
        static const char *const environments[] = { "boot/grub2/grubenv", "boot/grub/grubenv" };
        bool is_grub, other;
        int r;

        r = find_grub_config(host, root_fd, &other);
        if (r < 0)
                return r;
        is_grub =
                r > 0 ||
                host_file_has_line(root_fd, "etc/default/grub", "GRUB_ENABLE_BLSCFG=true") > 0 ||
                host_file_has_line(root_fd, "etc/default/grub", "GRUB_ENABLE_BLSCFG=\"true\"") > 0;
        if (!is_grub && !other) {
                r = has_grub_entries(host, root_fd);
                if (r < 0)
                        return r;
                is_grub = r > 0;
        }
        if (!is_grub)
                return 0;
        host->reader = BLS_READER_GRUB;
        keep_boot_folder(host);
        for (size_t i = 0; i < ELEMENTSOF(environments); i++) {
                r = take_if_exists(root_fd, environments[i], &host->environment);
                if (r < 0)
                        return r;
        }
        return 0;
}

int bls_host_find(int root_fd, BlsHost **ret) {
        _cleanup_(bls_host_freep) BlsHost *host = NULL;
        int r;

        host = new0(BlsHost, 1);
        if (!host)
                return -ENOMEM;
        r = find_folders(host, root_fd);
        if (r >= 0)
                r = find_machine_id(host, root_fd);
        if (r >= 0)
                r = find_token(host, root_fd);
        if (r >= 0)
                r = find_reader(host, root_fd);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(host);
        return 0;
}

bool bls_host_has_own(const BlsHost *host) {
        return host->token != NULL;
}

static void bls_file_done(BlsFile *file) {
        free(file->path);
        free(file->id);
        free(file->text);
        bls_entry_done(&file->entry);
}

void bls_files_done(BlsFiles *files) {
        for (size_t i = 0; i < files->n_items; i++)
                bls_file_done(files->items + i);
        free(files->items);
        free(files->environment);
        free(files->config);
        *files = (BlsFiles){ 0 };
}

/* The text of a file as it is to become, or as it is. NULL if there is none to be read. */
static int read_changed(int root_fd, const char *path, const BootFiles *changes, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        *ret = NULL;
        for (size_t i = 0; changes && i < changes->n_items; i++)
                if (streq(changes->items[i].path, path)) {
                        *ret = changes->items[i].after ? strdup(changes->items[i].after) : NULL;
                        return changes->items[i].after && !*ret ? -ENOMEM : 0;
                }
        r = root_read_file(root_fd, path, &text, &size);
        if (r == -ENOENT || r == -EISDIR || r == -EBADFD)
                return 0; /* nothing that a boot loader would read */
        if (r < 0)
                return r;
        if (strlen(text) == size) /* else it is no text */
                *ret = TAKE_PTR(text);
        return 0;
}

/* What GRUB and systemd-boot do not tell apart: a name that begins with the id of a machine. */
static bool names_other_machine(const BlsHost *host, const BlsFile *file) {
        size_t length = strspn(file->id, "0123456789abcdef");

        if (!host->machine_id)
                return false;
        if (file->entry.machine_id && !streq(file->entry.machine_id, host->machine_id))
                return true;
        /* Images of hosts are copied, and their first entries have the id of where they were made:
         * GRUB boots them all the same */
        return host->reader == BLS_READER_SYSTEMD_BOOT && length == MACHINE_ID_LENGTH &&
               file->id[length] == '-' && !startswith(file->id, host->machine_id);
}

static bool is_ours(const BlsHost *host, const BlsFile *file, bool everything) {
        if (names_other_machine(host, file))
                return false;
        if (everything)
                return true;
        return begins_with_token(file->id, host->token) ||
               begins_with_token(file->id, host->machine_id) ||
               (host->machine_id && file->entry.machine_id);
}

/* The rescue entry of dracut (`ID-0-rescue`), and those that say so in their own options. */
static bool is_recovery(const BlsFile *file) {
        const char *options = file->entry.options;

        if (strstr(file->id, "-0-rescue") ||
            (file->entry.version && startswith(file->entry.version, "0-rescue")))
                return true;
        for (const char *p = options; p && *p != '\0';) {
                size_t length;
                char word[64];

                p += strspn(p, " \t");
                length = strcspn(p, " \t");
                if (length < sizeof(word)) {
                        memcpy(word, p, length);
                        word[length] = '\0';
                        if (streq(word, "--"))
                                return false;
                        if (boot_argument_is_repair(word))
                                return true;
                }
                p += length;
        }
        return false;
}

static int add_file(BlsFiles *files, BlsFile *file) {
        BlsFile *grown;

        grown = reallocarray(files->items, files->n_items + 1, sizeof(BlsFile));
        if (!grown)
                return -ENOMEM;
        files->items = grown;
        grown[files->n_items++] = *file;
        *file = (BlsFile){ 0 };
        return 0;
}

static int load_entry(const BlsHost *host, int root_fd, bool everything, const BootFiles *changes,
                      const char *folder, const char *name, BlsFiles *files) {
        _cleanup_(bls_file_done) BlsFile file = { 0 };
        int r;

        if (asprintf(&file.path, "%s/" ENTRIES "/%s", folder, name) < 0) {
                file.path = NULL;
                return -ENOMEM;
        }
        file.id = bls_entry_id(name, &file.is_bad);
        if (!file.id)
                return -ENOMEM;
        r = read_changed(root_fd, file.path, changes, &file.text);
        if (r < 0 || !file.text)
                return r;
        r = bls_entry_parse(file.text, host->reader, &file.entry);
        if (r < 0)
                return r;
        if (!is_ours(host, &file, everything))
                file.kind = BOOT_ENTRY_OTHER;
        else if (file.entry.image)
                file.kind = BOOT_ENTRY_IMAGE;
        else if (!file.entry.kernel)
                file.kind = BOOT_ENTRY_OTHER;
        else
                file.kind = is_recovery(&file) ? BOOT_ENTRY_RECOVERY : BOOT_ENTRY_NORMAL;
        return add_file(files, &file);
}

static int load_image(const BlsHost *host, int root_fd, bool everything, const char *folder,
                      const char *name, BlsFiles *files) {
        _cleanup_(bls_file_done) BlsFile file = { 0 };
        int r, q;

        if (asprintf(&file.path, "%s/" IMAGES "/%s", folder, name) < 0) {
                file.path = NULL;
                return -ENOMEM;
        }
        file.id = bls_entry_id(name, &file.is_bad);
        file.entry.image = strdup(file.path);
        file.entry.title = strdup(name);
        if (!file.id || !file.entry.image || !file.entry.title)
                return -ENOMEM;
        r = unified_image_read(root_fd, file.path, ".cmdline", &file.entry.options);
        q = unified_image_read(root_fd, file.path, ".uname", &file.entry.version);
        if (r == -ENOMEM || q == -ENOMEM)
                return -ENOMEM;
        if (r < 0 && r != -ENOENT)
                return r == -EACCES ? r : 0; /* not what its name says */
        file.entry.options_line = 1;
        file.kind = is_ours(host, &file, everything) ? BOOT_ENTRY_IMAGE : BOOT_ENTRY_OTHER;
        return add_file(files, &file);
}

static int compare_texts(const char *a, const char *b) {
        return strcmp(a ? a : "", b ? b : "");
}

/* As systemd-boot sorts its menu, see UAPI.1, "Sorting". */
static int compare_for_systemd_boot(const void *a, const void *b) {
        const BlsFile *x = a, *y = b;
        int r;

        if (x->is_bad != y->is_bad)
                return x->is_bad - y->is_bad;
        if (!x->entry.sort_key != !y->entry.sort_key)
                return !x->entry.sort_key - !y->entry.sort_key;
        r = compare_texts(x->entry.sort_key, y->entry.sort_key);
        if (r == 0 && x->entry.sort_key)
                r = compare_texts(x->entry.machine_id, y->entry.machine_id);
        if (r == 0 && x->entry.sort_key)
                r = -bls_version_compare(x->entry.version, y->entry.version);
        if (r == 0)
                r = -bls_version_compare(x->id, y->id);
        return r != 0 ? r : strcmp(x->path, y->path);
}

static int compare_for_grub(const void *a, const void *b) {
        const BlsFile *x = a, *y = b;
        int r = -bls_version_compare(x->id, y->id);

        return r != 0 ? r : strcmp(x->path, y->path);
}

/* An EFI variable of systemd-boot's: four bytes of attributes, then UTF-16. NULL: not set. */
static int read_variable(int root_fd, const char *name, char **ret) {
        _cleanup_free_ char *raw = NULL, *value = NULL;
        size_t size, n = 0;
        char path[128];
        int r;

        *ret = NULL;
        (void)snprintf(path, sizeof(path), LOADER_VARIABLE, name);
        r = root_read_file(root_fd, path, &raw, &size);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        value = new0(char, size + 1);
        if (!value)
                return -ENOMEM;
        for (size_t i = 4; i + 1 < size && (raw[i] != '\0' || raw[i + 1] != '\0'); i += 2)
                value[n++] = raw[i + 1] == '\0' ? raw[i] : '?';
        if (n > 0)
                *ret = TAKE_PTR(value);
        return 0;
}

int bls_booted_by_systemd_boot(int root_fd) {
        _cleanup_free_ char *loader = NULL;
        int r;

        r = read_variable(root_fd, "LoaderInfo", &loader);
        if (r < 0)
                return r;
        if (!loader)
                return -ENODATA;
        return startswith(loader, "systemd-boot") != NULL;
}

/* What systemd-boot is told to boot: a pattern; NULL if it is to choose. */
static int find_pattern(const BlsHost *host, int root_fd, char **ret) {
        int r;

        r = read_variable(root_fd, "LoaderEntryDefault", ret);
        for (char **folder = host->folders; *folder && r >= 0 && !*ret; folder++) {
                _cleanup_free_ char *path = NULL, *text = NULL;

                if (asprintf(&path, "%s/loader/loader.conf", *folder) < 0)
                        return -ENOMEM;
                r = host_read_fact(root_fd, path, &text);
                if (r >= 0 && text) {
                        r = bls_loader_default(text, ret);
                        r = r == -ENOENT ? 0 : r;
                }
        }
        if (r >= 0 && *ret && streq(*ret, "@saved")) {
                free(TAKE_PTR(*ret));
                r = read_variable(root_fd, "LoaderEntryLastBooted", ret);
        }
        return r;
}

static bool matches(const BlsFile *file, const char *pattern) {
        const char *name = strrchr(file->path, '/') + 1;

        return fnmatch(pattern, name, FNM_CASEFOLD) == 0 ||
               fnmatch(pattern, file->id, FNM_CASEFOLD) == 0 ||
               (file->text && has_suffix(pattern, ".conf") &&
                strlen(pattern) - strlen(".conf") == strlen(file->id) &&
                strncasecmp(pattern, file->id, strlen(file->id)) == 0);
}

/*
 * systemd-boot passes over an entry whose kernel is gone, as when a system before this one left it
 * behind. Asked only for entries of others: a captured host has no kernels.
 */
static bool has_kernel(int root_fd, const BlsFile *file) {
        const char *kernel = file->entry.kernel, *folder = strstr(file->path, "/" ENTRIES "/");
        _cleanup_free_ char *path = NULL;

        if (!kernel || !folder)
                return true;
        if (asprintf(&path, "%.*s/%s", (int)(folder - file->path), file->path, kernel) < 0)
                return true;
        return root_exists(root_fd, path) != 0;
}

static int mark_for_systemd_boot(const BlsHost *host, int root_fd, BlsFiles *files) {
        _cleanup_free_ char *pattern = NULL;
        int r;

        r = find_pattern(host, root_fd, &pattern);
        if (r < 0)
                return r;
        for (size_t i = 0; i < files->n_items && pattern; i++)
                if (matches(files->items + i, pattern)) {
                        files->items[i].is_default = true;
                        return 0;
                }
        for (size_t i = 0; i < files->n_items; i++) {
                BlsFile *file = files->items + i;

                if (file->kind == BOOT_ENTRY_OTHER && !has_kernel(root_fd, file))
                        continue;
                file->is_default = true;
                break;
        }
        return 0;
}

/* By its id, its title or its number; what leads nowhere is the first one. */
static int mark_for_grub(BlsFiles *files) {
        _cleanup_free_ char *chosen = NULL, *saved = NULL;
        unsigned index = 0;
        int r;

        if (files->config) {
                r = grub_config_get(files->config, strlen(files->config), "default", &chosen);
                if (r == -ENOMEM)
                        return r;
        }
        if (files->environment) {
                r = grub_environment_get(files->environment, "saved_entry", &saved);
                if (r == -ENOMEM)
                        return r;
        }
        /* As Fedora's 00_header does without being told */
        if (!chosen || strstr(chosen, "saved_entry")) {
                free(chosen);
                chosen = TAKE_PTR(saved);
        }
        for (size_t i = 0; i < files->n_items && chosen; i++) {
                BlsFile *file = files->items + i;

                if (streq(chosen, file->id) ||
                    (file->entry.title && streq(chosen, file->entry.title))) {
                        file->is_default = true;
                        return 0;
                }
        }
        if (chosen && parse_unsigned(chosen, &index) < 0)
                index = 0;
        if (files->n_items > 0)
                files->items[index < files->n_items ? index : 0].is_default = true;
        return 0;
}

static int load_folder(const BlsHost *host, int root_fd, bool everything, const BootFiles *changes,
                       const char *folder, BlsFiles *files) {
        _cleanup_(strv_freep) char **entries = NULL, **images = NULL;
        int r;

        r = list(root_fd, folder, ENTRIES, ".conf", &entries);
        for (char **name = entries; r >= 0 && *name; name++)
                r = load_entry(host, root_fd, everything, changes, folder, *name, files);
        if (r >= 0 && host->reader == BLS_READER_SYSTEMD_BOOT)
                r = list(root_fd, folder, IMAGES, ".efi", &images);
        for (char **name = images; r >= 0 && name && *name; name++)
                r = load_image(host, root_fd, everything, folder, *name, files);
        return r;
}

int bls_host_load(const BlsHost *host, int root_fd, bool everything, const BootFiles *changes,
                  BlsFiles *ret) {
        _cleanup_(bls_files_done) BlsFiles files = { 0 };
        int r = 0;

        for (char **folder = host->folders; *folder && r >= 0; folder++)
                r = load_folder(host, root_fd, everything, changes, *folder, &files);
        if (r >= 0 && host->environment)
                r = read_changed(root_fd, host->environment, changes, &files.environment);
        if (r >= 0 && host->config)
                r = read_changed(root_fd, host->config, NULL, &files.config);
        if (r < 0)
                return r;
        if (files.n_items > 0)
                qsort(files.items, files.n_items, sizeof(BlsFile),
                      host->reader == BLS_READER_GRUB ? compare_for_grub
                                                      : compare_for_systemd_boot);
        r = host->reader == BLS_READER_GRUB ? mark_for_grub(&files)
                                            : mark_for_systemd_boot(host, root_fd, &files);
        if (r < 0)
                return r;
        *ret = files;
        files = (BlsFiles){ 0 };
        return 0;
}

/* The value of a variable of GRUB's as it is when the entries are read; NULL if it is not set. */
static int get_variable(const BlsFiles *files, const char *name, char **ret) {
        int r = -ENOENT;

        *ret = NULL;
        if (files->environment)
                r = grub_environment_get(files->environment, name, ret);
        if (r == -ENOENT && files->config)
                r = grub_config_get(files->config, strlen(files->config), name, ret);
        return r == -ENOMEM ? r : 0;
}

static int print_expanded(FILE *f, const BlsFiles *files, const char *options) {
        char before = '\0';

        while (*options != '\0') {
                _cleanup_free_ char *name = NULL, *value = NULL;
                const char *end = options + 1;

                if (*options != '$' || before == '\\') {
                        before = *options++;
                        fputc(before, f);
                        continue;
                }
                while (isalnum((unsigned char)*end) || *end == '_')
                        end++;
                name = strndup(options + 1, (size_t)(end - options - 1));
                if (!name || get_variable(files, name, &value) < 0)
                        return -ENOMEM;
                if (value)
                        fprintf(f, "%s ", value);
                options = end + (*end == ' ');
                before = ' ';
        }
        return 0;
}

int bls_files_options(const BlsHost *host, const BlsFiles *files, const BlsFile *file, char **ret) {
        _cleanup_free_ char *text = NULL, *fallback = NULL;
        const char *options = file->entry.options;
        size_t size;
        FILE *f;
        int r;

        if (host->reader != BLS_READER_GRUB) {
                *ret = strdup(options ? options : "");
                return *ret ? 0 : -ENOMEM;
        }
        if (!options) {
                r = get_variable(files, "default_kernelopts", &fallback);
                if (r < 0)
                        return r;
                options = fallback ? fallback : "";
        }
        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        r = print_expanded(f, files, options);
        if (fclose(f) != 0 || r < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        return 0;
}
