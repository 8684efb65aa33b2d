/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "basic/root-fs.h"
#include "host/capture.h"

/* How much is known of a path; of several notes about one path the first of these counts. */
typedef enum Kind {
        KIND_READ,    /* a file and its content */
        KIND_PART,    /* a file and a part of its content; there may be several */
        KIND_REFUSED, /* could not be opened or read */
        KIND_FOLDER,  /* was listed */
        KIND_FOUND,   /* had to be there; links were followed */
        KIND_NAMED,   /* was found by name alone: in a list, or without following a link */
} Kind;

typedef struct Note {
        char *path;
        Kind kind;
        char *data;
        size_t size;
        uint64_t offset; /* of the part */
        int error;
} Note;

struct Capture {
        RootObserver observer;
        Note *notes;
        size_t n_notes, room;
        int error; /* what went wrong while taking notes */
        CaptureFile *files;
        size_t n_files;
};

Capture *capture_free(Capture *c) {
        if (!c)
                return NULL;
        for (size_t i = 0; i < c->n_notes; i++) {
                free(c->notes[i].path);
                free(c->notes[i].data);
        }
        free(c->notes);
        free(c->files);
        free(c);
        return NULL;
}

/* Readers never go up; where a configured path does, there is no such place in a copy. */
static bool goes_up(const char *path) {
        for (const char *p = path; p; p = strchr(p, '/')) {
                p += *p == '/';
                if (startswith(p, "..") && (p[2] == '/' || p[2] == '\0'))
                        return true;
        }
        return false;
}

/* Takes @path, which may be NULL. Returns the new note, or NULL. */
static Note *add_note(Capture *c, Kind kind, char *path) {
        if (!path || goes_up(path)) {
                if (!path)
                        c->error = -ENOMEM;
                free(path);
                return NULL;
        }
        if (c->n_notes == c->room) {
                size_t room = c->room == 0 ? 64 : c->room * 2;
                Note *grown = reallocarray(c->notes, room, sizeof(Note));

                if (!grown) {
                        c->error = -ENOMEM;
                        free(path);
                        return NULL;
                }
                c->notes = grown;
                c->room = room;
        }
        c->notes[c->n_notes] = (Note){ .path = path, .kind = kind };
        return &c->notes[c->n_notes++];
}

static void note_found(void *userdata, const char *path, bool follow) {
        (void)add_note(userdata, follow ? KIND_FOUND : KIND_NAMED, strdup(path));
}

static void note_content(Capture *c, Kind kind, const char *path, uint64_t offset, const void *data,
                         size_t size) {
        Note *note = add_note(c, kind, strdup(path));

        if (!note)
                return;
        note->data = malloc(size + 1);
        if (!note->data) {
                c->error = -ENOMEM;
                return;
        }
        memcpy(note->data, data, size);
        note->size = size;
        note->offset = offset;
}

static void note_read(void *userdata, const char *path, const char *data, size_t size) {
        note_content(userdata, KIND_READ, path, 0, data, size);
}

static void note_part(void *userdata, const char *path, uint64_t offset, const void *data,
                      size_t size) {
        note_content(userdata, KIND_PART, path, offset, data, size);
}

static void note_listed(void *userdata, const char *path, char *const *names) {
        (void)add_note(userdata, KIND_FOLDER, strdup(path));
        for (char *const *name = names; *name; name++) {
                char *entry;

                if (asprintf(&entry, "%s/%s", path, *name) < 0)
                        entry = NULL;
                (void)add_note(userdata, KIND_NAMED, entry);
        }
}

static void note_refused(void *userdata, const char *path, int error) {
        /* That there is no file in its place is what was found out. */
        bool no_file = error == -EISDIR || error == -EBADFD || error == -ENXIO;
        Note *note = add_note(userdata, no_file ? KIND_FOUND : KIND_REFUSED, strdup(path));

        if (note)
                note->error = error;
}

Capture *capture_new(void) {
        Capture *c = new0(Capture, 1);

        if (!c)
                return NULL;
        c->observer = (RootObserver){
                .userdata = c,
                .found = note_found,
                .read = note_read,
                .read_part = note_part,
                .listed = note_listed,
                .refused = note_refused,
        };
        return c;
}

void capture_start(Capture *c) {
        root_observe(&c->observer);
}

void capture_stop(Capture *c) {
        root_observe(NULL);
}

static int compare_notes(const void *a, const void *b) {
        const Note *x = a, *y = b;
        int order = strcmp(x->path, y->path);

        return order != 0 ? order : (x->kind > y->kind) - (x->kind < y->kind);
}

/* Sorts, and keeps of each path the note that says most. */
static void sort_notes(Capture *c) {
        size_t n = 0;

        if (c->n_notes == 0)
                return;
        qsort(c->notes, c->n_notes, sizeof(Note), compare_notes);
        for (size_t i = 0; i < c->n_notes; i++) {
                const Note *last = n > 0 ? &c->notes[n - 1] : NULL;

                if (last && streq(last->path, c->notes[i].path) &&
                    (last->kind != KIND_PART || c->notes[i].kind != KIND_PART)) {
                        free(c->notes[i].path);
                        free(c->notes[i].data);
                } else
                        c->notes[n++] = c->notes[i];
        }
        c->n_notes = n;
}

/* Makes @path or, without @last, only the folders above it. */
static int make_folders(int folder_fd, const char *path, bool last) {
        char folder[PATH_MAX];

        if (strlen(path) >= sizeof(folder))
                return -ENAMETOOLONG;
        strcpy(folder, path);
        for (char *slash = folder; (slash = strchr(slash, '/')); *slash++ = '/') {
                *slash = '\0';
                if (mkdirat(folder_fd, folder, 0777) < 0 && errno != EEXIST)
                        return -errno;
        }
        return !last || mkdirat(folder_fd, folder, 0777) >= 0 || errno == EEXIST ? 0 : -errno;
}

static int write_all(int fd, uint64_t offset, const char *data, size_t size) {
        while (size > 0) {
                ssize_t n = pwrite(fd, data, size, (off_t)offset);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        data += n;
                        offset += (uint64_t)n;
                        size -= (size_t)n;
                }
        }
        return 0;
}

/* A file that only root may read stays so; whoever owns the copy may change and remove it. */
static int write_file(int folder_fd, const Note *note, mode_t mode) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = make_folders(folder_fd, note->path, false);
        if (r < 0)
                return r;
        fd = openat(folder_fd, note->path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
                    (mode & 0777) | S_IRUSR | S_IWUSR);
        if (fd < 0)
                return -errno;
        r = write_all(fd, note->offset, note->data, note->size);
        if (r < 0)
                return r;
        return close(TAKE_FD(fd)) < 0 ? -errno : 0;
}

static int stat_source(int root_fd, const char *path, int flags, struct stat *ret, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;

        fd = root_openat(root_fd, path, O_PATH | flags, 0);
        if (fd < 0)
                return fd;
        if (fstat(fd, ret) < 0)
                return -errno;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int write_link(int folder_fd, const char *path, int fd) {
        char target[PATH_MAX];
        ssize_t n;

        n = readlinkat(fd, "", target, sizeof(target) - 1);
        if (n < 0)
                return -errno;
        target[n] = '\0';
        return symlinkat(target, folder_fd, path) < 0 ? -errno : 0;
}

/* Something of which only the name, and what it is, was looked at. */
static int write_other(int root_fd, int folder_fd, const Note *note, bool links) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        int r;

        /* It is there if something below it was read. */
        if (fstatat(folder_fd, note->path, &st, AT_SYMLINK_NOFOLLOW) >= 0)
                return 0;
        r = stat_source(root_fd, note->path, note->kind == KIND_NAMED ? O_NOFOLLOW : 0, &st, &fd);
        if (r < 0 || S_ISLNK(st.st_mode) != links)
                return 0; /* gone since, or not its turn */
        r = make_folders(folder_fd, note->path, S_ISDIR(st.st_mode));
        if (r < 0 || S_ISDIR(st.st_mode))
                return r;
        if (S_ISREG(st.st_mode))
                /* Of a file that was only listed, nobody asked what is in it or whether. */
                return note->kind == KIND_FOUND ? write_file(folder_fd, note, st.st_mode) : 0;
        if (S_ISLNK(st.st_mode))
                return write_link(folder_fd, note->path, fd);
        if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
                return symlinkat("/dev/null", folder_fd, note->path) < 0 ? -errno : 0;
        /* Neither file nor folder is all that matters of it */
        return mkfifoat(folder_fd, note->path, 0600) < 0 ? -errno : 0;
}

static int write_content(int root_fd, int folder_fd, const Note *note) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (stat_source(root_fd, note->path, 0, &st, &fd) < 0)
                st.st_mode = 0600; /* gone since; nothing says that everybody may read it */
        return write_file(folder_fd, note, st.st_mode);
}

static int write_note(int root_fd, int folder_fd, const Note *note, bool links) {
        switch (note->kind) {
        case KIND_READ:
        case KIND_PART:
                return write_content(root_fd, folder_fd, note);
        case KIND_FOLDER:
                return make_folders(folder_fd, note->path, true);
        case KIND_FOUND:
        case KIND_NAMED:
                return write_other(root_fd, folder_fd, note, links);
        default:
                return 0;
        }
}

static int write_notes(const Capture *c, int root_fd, int folder_fd, Kind kind, bool links,
                       const char **ret_path) {
        for (size_t i = 0; i < c->n_notes; i++) {
                const Note *note = &c->notes[i];
                int r;

                if (note->kind != kind)
                        continue;
                r = write_note(root_fd, folder_fd, note, links);
                if (r < 0) {
                        *ret_path = note->path;
                        return r;
                }
        }
        return 0;
}

int capture_write(Capture *c, int root_fd, int folder_fd, const CaptureFile **ret, size_t *ret_n,
                  const char **ret_path) {
        int r;

        *ret_path = NULL;
        if (c->error < 0)
                return c->error;
        sort_notes(c);
        free(c->files);
        c->n_files = 0;
        c->files = new0(CaptureFile, c->n_notes + 1);
        if (!c->files)
                return -ENOMEM;
        /* Folders have to be there before a link may take the place of one, so links come last. */
        for (Kind kind = KIND_READ; kind <= KIND_NAMED; kind++) {
                r = write_notes(c, root_fd, folder_fd, kind, false, ret_path);
                if (r < 0)
                        return r;
        }
        r = write_notes(c, root_fd, folder_fd, KIND_NAMED, true, ret_path);
        if (r < 0)
                return r;
        for (size_t i = 0; i < c->n_notes; i++)
                if (c->notes[i].kind <= KIND_REFUSED &&
                    (i == 0 || !streq(c->notes[i].path, c->notes[i - 1].path)))
                        c->files[c->n_files++] = (CaptureFile){
                                .path = c->notes[i].path,
                                .error = c->notes[i].error,
                        };
        *ret = c->files;
        *ret_n = c->n_files;
        return 0;
}
