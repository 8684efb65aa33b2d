/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <time.h>

#include "basic/root-fs.h"
#include "dmemd/bus.h"
#include "dmemd/log.h"
#include "dmemd/poison-tell.h"
#include "dmemd/poison.h"
#include "host/host-poison.h"
#include "host/ledger-file.h"

/* Events come in bursts. Work that takes long is done less often: at most a fifth of the time. */
#define WORK_USEC (UINT64_C(100) * 1000)
#define WORK_FACTOR 4
#define WORK_USEC_MAX (UINT64_C(5) * 1000 * 1000)

/* The same for writing: at most an eleventh. What comes after a quiet time is written at once. */
#define SAVE_USEC (UINT64_C(1000) * 1000)
#define SAVE_FACTOR 10
#define SAVE_RETRY_USEC (UINT64_C(30) * 1000 * 1000)

/* udev may be behind. No uevent for that long after the last one: it will not come any more. */
#define OVERDUE_USEC (UINT64_C(10) * 1000 * 1000)

/* Somebody else writes, which takes no time; at the start we wait for that. */
#define LOCK_USEC (UINT64_C(1000) * 1000)

struct Poison {
        LedgerFile file;
        unsigned boot; /* index of this one in the ledger */

        Sighting *pending; /* from events, to be taken in */
        size_t n_pending, room;

        PoisonWatch *nodes;
        size_t n_nodes;
        uint64_t missed;
        uint64_t checked_bytes; /* poisoned, when we looked at the counters last */

        sd_event_source *work_source, *save_source, *file_source;
        uint64_t looked_usec; /* when ledger and lists agreed; 0: never */
        uint64_t work_usec;   /* what the last work took */
        uint64_t save_usec;   /* what the last writing took */
        uint64_t saved_usec;  /* when that was; 0: never */
        bool look_failed, save_failed;
};

int poison_new(Poison **ret) {
        Poison *p = new0(Poison, 1);

        if (!p)
                return -ENOMEM;
        *ret = p;
        return 0;
}

Poison *poison_free(Poison *p) {
        if (!p)
                return NULL;
        sd_event_source_disable_unref(p->work_source);
        sd_event_source_disable_unref(p->save_source);
        sd_event_source_disable_unref(p->file_source);
        sightings_free(p->pending, p->n_pending);
        ledger_file_done(&p->file);
        free(p->nodes);
        free(p);
        return NULL;
}

const Ledger *poison_ledger(const Manager *m) {
        return m->poison->file.ledger;
}

MaybeBytes poison_count(const Manager *m) {
        MaybeBytes sum = { .known = true };

        for (size_t i = 0; i < m->poison->n_nodes; i++) {
                sum.known = sum.known && m->poison->nodes[i].events_known;
                sum.bytes += m->poison->nodes[i].events;
        }
        return sum;
}

MaybeBytes poison_count_of(const Manager *m, unsigned node) {
        for (size_t i = 0; i < m->poison->n_nodes; i++) {
                const PoisonWatch *w = &m->poison->nodes[i];

                if (w->id == node)
                        return (MaybeBytes){ .known = w->events_known, .bytes = w->events };
        }
        return (MaybeBytes){};
}

uint64_t poison_missed(const Manager *m) {
        return m->poison->missed;
}

/* Not sd_event_now(), which is when the loop woke up: here it matters how long something takes. */
static uint64_t clock_usec(clockid_t clock) {
        struct timespec now;

        (void)clock_gettime(clock, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static PoisonWatch *find_node(Poison *p, unsigned id) {
        PoisonWatch *grown;

        for (size_t i = 0; i < p->n_nodes; i++)
                if (p->nodes[i].id == id)
                        return &p->nodes[i];
        grown = reallocarray(p->nodes, p->n_nodes + 1, sizeof(PoisonWatch));
        if (!grown)
                return NULL;
        p->nodes = grown;
        p->nodes[p->n_nodes] = (PoisonWatch){ .id = id };
        return &p->nodes[p->n_nodes++];
}

/* Runs @source in @usec, or earlier if it is set so already. */
static void arm(sd_event_source *source, uint64_t usec) {
        uint64_t now = clock_usec(CLOCK_MONOTONIC), set;
        int enabled, r;

        if (sd_event_source_get_enabled(source, &enabled) >= 0 && enabled != SD_EVENT_OFF &&
            sd_event_source_get_time(source, &set) >= 0 && set <= now + usec)
                return;
        r = sd_event_source_set_time(source, now + usec);
        if (r >= 0)
                r = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        if (r < 0)
                log_message(LOG_ERR, "Cannot set a timer: %s", strerror(-r));
}

static void work_soon(Poison *p) {
        uint64_t usec = p->work_usec * WORK_FACTOR;

        arm(p->work_source, usec < WORK_USEC       ? WORK_USEC
                            : usec > WORK_USEC_MAX ? WORK_USEC_MAX
                                                   : usec);
}

/* Saving */

static void ledger_problem(int priority, const char *text) {
        log_event(priority, MESSAGE_LEDGER_PROBLEM, NULL, "%s", text);
}

/* Once, until it works again. */
static void save_failed(Manager *m, int r) {
        _cleanup_free_ char *text = NULL;
        Poison *p = m->poison;

        /* Somebody else's tree, where nobody has made the folder: there is nothing to keep. */
        if (r == -ENOENT && !m->live)
                return;
        arm(p->save_source, SAVE_RETRY_USEC);
        if (p->save_failed)
                return;
        p->save_failed = true;
        if (asprintf(&text,
                     "Cannot write /" LEDGER_FILE ": %s; what is poisoned is known to the kernel "
                     "for this boot, and writing is tried again",
                     strerror(-r)) >= 0)
                ledger_problem(LOG_WARNING, text);
}

/* Somebody else wrote: their changes and ours. */
static int rebase(Manager *m) {
        _cleanup_(ledger_file_done) LedgerFile file = {};
        _cleanup_free_ char *problem = NULL;
        char id[BOOT_ID_MAX];
        Poison *p = m->poison;
        int r;

        r = ledger_file_load(m->root_fd, &file);
        if (r < 0)
                return r;
        problem = ledger_file_problem(&file);
        if (problem)
                ledger_problem(LOG_WARNING, problem);
        r = ledger_rebase(p->file.ledger, p->boot, file.ledger);
        if (r < 0)
                return r;
        p->file.st = file.st;
        p->file.condition = file.condition;
        host_load_boot_id(m->root_fd, id);
        r = ledger_add_boot(p->file.ledger, id, &p->boot);
        return r < 0 ? r : 0;
}

static int save_locked(Manager *m) {
        _cleanup_free_ char *aside = NULL, *text = NULL;
        Poison *p = m->poison;
        int r;

        if (ledger_file_changed(m->root_fd, &p->file)) {
                r = rebase(m);
                if (r < 0)
                        return r;
        }
        if (!ledger_file_writable(&p->file))
                return 0;
        if (p->file.condition == LEDGER_DAMAGED) {
                r = ledger_file_set_aside(m->root_fd, &aside);
                if (r < 0)
                        return r;
                if (asprintf(&text, "The damaged ledger of poisoned memory is kept as %s", aside) >=
                    0)
                        ledger_problem(LOG_WARNING, text);
        }
        return ledger_file_save(m->root_fd, &p->file);
}

static void save(Manager *m, uint64_t timeout_usec) {
        uint64_t start = clock_usec(CLOCK_MONOTONIC);
        _cleanup_close_ int lock = -EBADF;
        Poison *p = m->poison;
        int r;

        lock = ledger_lock(m->root_fd, false, timeout_usec);
        if (lock == -EBUSY) {
                arm(p->save_source, SAVE_USEC);
                return;
        }
        r = lock < 0 ? lock : save_locked(m);
        p->saved_usec = clock_usec(CLOCK_MONOTONIC);
        p->save_usec = p->saved_usec - start;
        if (r < 0) {
                save_failed(m, r);
                return;
        }
        if (p->save_failed)
                log_message(LOG_NOTICE, "/" LEDGER_FILE " is written again");
        p->save_failed = false;
}

static int on_save(sd_event_source *source, uint64_t usec, void *userdata) {
        save(ASSERT_PTR(userdata), 0);
        return 0;
}

static void save_soon(Poison *p) {
        uint64_t usec = p->save_usec * SAVE_FACTOR, now = clock_usec(CLOCK_MONOTONIC), due = 0;

        if (p->save_failed || !ledger_is_dirty(p->file.ledger))
                return; /* then it is tried again anyway */
        if (p->saved_usec > 0)
                due = p->saved_usec + (usec > SAVE_USEC ? usec : SAVE_USEC);
        arm(p->save_source, due > now ? due - now : 0);
}

/* Events */

static int add_pending(Poison *p, Sighting *sighting) {
        if (p->n_pending == p->room) {
                size_t room = p->room == 0 ? 64 : p->room * 2;
                Sighting *grown = reallocarray(p->pending, room, sizeof(Sighting));

                if (!grown)
                        return -ENOMEM;
                p->pending = grown;
                p->room = room;
        }
        p->pending[p->n_pending++] = *sighting;
        sighting->user = (UnitUser){};
        return 0;
}

/* Its @i-th unit; the first one takes the texts. */
static int add_unit(Poison *p, PoisonEvent *e, uint64_t i) {
        Sighting unit = e->unit;

        if (i == 0)
                return add_pending(p, &e->unit);
        unit.address += i * UNIT_SIZE;
        unit.user = (UnitUser){};
        return add_pending(p, &unit);
}

static void count_event(Poison *p, PoisonWatch *node, const PoisonEvent *e) {
        uint64_t before = e->count - poison_event_new(e);

        node->heard_usec = clock_usec(CLOCK_MONOTONIC);
        if (node->seen_known && before > node->seen) {
                p->missed += before - node->seen;
                node->missed += before - node->seen;
        }
        if (!node->seen_known || e->count > node->seen)
                node->seen = e->count;
        node->seen_known = true;
}

void poison_event(Manager *m, PoisonEvent *e) {
        PoisonWatch *node = find_node(m->poison, e->unit.node);
        int r = node ? 0 : -ENOMEM;

        if (node)
                count_event(m->poison, node, e);
        for (uint64_t i = e->size / UNIT_SIZE; i > 0 && r >= 0; i--)
                r = add_unit(m->poison, e, i - 1);
        if (r < 0)
                log_message(LOG_WARNING, "Cannot note an event: %s; the kernel's list has it too",
                            strerror(-r));
        work_soon(m->poison);
}

static int take_in_events(Poison *p) {
        int r;

        r = ledger_report(p->file.ledger, p->pending, p->n_pending, clock_usec(CLOCK_REALTIME),
                          p->boot);
        sightings_free(p->pending, p->n_pending);
        p->pending = NULL;
        p->n_pending = p->room = 0;
        return r;
}

/* The kernel's lists */

/* Does nobody know who uses one of the units? */
static bool lacks_users(const Ledger *l, unsigned node) {
        for (size_t i = 0; i < l->n_units; i++) {
                const LedgerUnit *unit = &l->units[i];

                if (unit->node == node && unit->state == UNIT_USED && !unit->user.device)
                        return true;
        }
        return false;
}

static int look_at_users(Manager *m, unsigned node) {
        Ledger *l = m->poison->file.ledger;
        Sighting *users;
        size_t n;
        int r;

        if (!lacks_users(l, node))
                return 0;
        r = host_load_poison_users(m->root_fd, node, &users, &n);
        if (r < 0)
                return r;
        (void)ledger_set_users(l, users, n);
        sightings_free(users, n);
        return 0;
}

static void note_events(PoisonWatch *node, bool known, uint64_t events) {
        /* The module was loaded anew, and counts from the start */
        if (known && node->events_known && events < node->events && events < node->seen)
                node->seen = events;
        node->events_known = known;
        node->events = known ? events : 0;
        if (!node->seen_known && known) {
                /* What happened before we looked first was not missed: it is in the lists */
                node->seen = events;
                node->seen_known = true;
        }
}

static int look(Manager *m) {
        Poison *p = m->poison;
        PoisonNode *nodes;
        size_t n;
        int r;

        r = take_in_events(p);
        if (r < 0)
                return r;
        r = host_load_poison(m->root_fd, &nodes, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n && r >= 0; i++) {
                PoisonWatch *node = find_node(p, nodes[i].id);

                if (!node) {
                        r = -ENOMEM;
                        break;
                }
                note_events(node, nodes[i].events_known, nodes[i].events);
                node->reconciled = node->events;
        }
        if (r >= 0)
                r = ledger_reconcile(p->file.ledger, nodes, n, clock_usec(CLOCK_REALTIME), p->boot);
        for (size_t i = 0; i < n && r >= 0; i++)
                r = look_at_users(m, nodes[i].id);
        poison_nodes_free(nodes, n);
        return r < 0 ? r : 0;
}

/* What the counter has and no uevent brought, and none will. */
static void count_overdue(Poison *p, PoisonWatch *node, uint64_t now) {
        if (!node->events_known || node->events <= node->seen) {
                node->overdue_usec = 0;
                return;
        }
        if (node->overdue_usec == 0 || node->heard_usec > node->overdue_usec)
                node->overdue_usec = now;
        if (now < node->overdue_usec + OVERDUE_USEC)
                return;
        p->missed += node->events - node->seen;
        node->missed += node->events - node->seen;
        node->seen = node->events;
        node->overdue_usec = 0;
}

/* When there is something to do for this node even if nothing happens. */
static uint64_t next_usec(const PoisonWatch *node) {
        uint64_t next = UINT64_MAX;

        if (node->overdue_usec > 0)
                next = node->overdue_usec + OVERDUE_USEC;
        if (node->pace.storm && node->pace.until < next)
                next = node->pace.until;
        if (node->missed > 0 && node->missed_until < next)
                next = node->missed_until;
        return next;
}

static void work(Manager *m) {
        uint64_t start = clock_usec(CLOCK_MONOTONIC), now, next = UINT64_MAX;
        Poison *p = m->poison;
        int r;

        r = look(m);
        if (r < 0 && !p->look_failed)
                log_message(LOG_WARNING, "Cannot read what is poisoned: %s; trying again",
                            strerror(-r));
        p->look_failed = r < 0;
        now = clock_usec(CLOCK_MONOTONIC);
        if (r >= 0)
                p->looked_usec = now;
        for (size_t i = 0; i < p->n_nodes; i++)
                count_overdue(p, &p->nodes[i], now);
        poison_tell(m, p->file.ledger, p->nodes, p->n_nodes, now);
        save_soon(p);
        for (size_t i = 0; i < p->n_nodes; i++)
                if (next_usec(&p->nodes[i]) < next)
                        next = next_usec(&p->nodes[i]);
        if (next != UINT64_MAX)
                arm(p->work_source, next > now ? next - now : WORK_USEC);
        else if (r < 0)
                arm(p->work_source, WORK_USEC_MAX);
        p->work_usec = clock_usec(CLOCK_MONOTONIC) - start;
}

static int on_work(sd_event_source *source, uint64_t usec, void *userdata) {
        Manager *m = ASSERT_PTR(userdata);

        work(m);
        manager_look_soon(m);
        return 0;
}

void poison_look(Manager *m, uint64_t max_age_usec) {
        Poison *p = m->poison;

        if (p->looked_usec > 0 && p->n_pending == 0 &&
            clock_usec(CLOCK_MONOTONIC) - p->looked_usec < max_age_usec)
                return;
        work(m);
}

void poison_check(Manager *m) {
        Poison *p = m->poison;
        bool new = false;

        for (size_t i = 0; i < p->n_nodes; i++) {
                PoisonWatch *node = &p->nodes[i];
                uint64_t events;
                int r;

                r = host_load_poison_events(m->root_fd, node->id, &events);
                if (r < 0)
                        return;
                note_events(node, r > 0, events);
                new |= node->events != node->reconciled;
        }
        /* Nodes may come, and an old module has no counters */
        new |= m->status->poisoned.bytes != p->checked_bytes;
        p->checked_bytes = m->status->poisoned.bytes;
        if (new)
                work_soon(p);
}

/* The file */

static int on_file(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        Manager *m = ASSERT_PTR(userdata);
        int r;

        if (!ledger_file_changed(m->root_fd, &m->poison->file))
                return 0;
        r = rebase(m);
        if (r < 0)
                log_message(LOG_WARNING, "Cannot read /" LEDGER_FILE ": %s", strerror(-r));
        work_soon(m->poison);
        return 0;
}

static void watch_file(Manager *m) {
        char path[PATH_MAX];
        int r;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d/" LEDGER_FOLDER, m->root_fd);
        r = sd_event_add_inotify(m->event, &m->poison->file_source, path,
                                 IN_ONLYDIR | IN_MOVED_TO | IN_DELETE, on_file, m);
        if (r < 0 && (m->live || (r != -ENOENT && r != -ENOTDIR)))
                log_message(LOG_WARNING,
                            "Cannot watch /" LEDGER_FOLDER "/: %s; what dmemctl writes there is "
                            "seen when it is written next",
                            strerror(-r));
}

/* The ledger as it is, or an empty one. A damaged file is put aside when we write. */
static int load(Manager *m) {
        _cleanup_free_ char *problem = NULL;
        char id[BOOT_ID_MAX];
        Poison *p = m->poison;
        int r;

        r = ledger_file_load(m->root_fd, &p->file);
        if (r < 0)
                return r;
        problem = ledger_file_problem(&p->file);
        if (problem)
                ledger_problem(LOG_WARNING, problem);
        if (p->file.condition == LEDGER_DAMAGED)
                for (size_t i = 0; i < p->file.ledger->n_units; i++)
                        p->file.ledger->units[i].dirty = true;
        host_load_boot_id(m->root_fd, id);
        r = ledger_add_boot(p->file.ledger, id, &p->boot);
        if (r < 0)
                return r;
        (void)ledger_prune(p->file.ledger, p->boot, &p->boot);
        return 0;
}

int poison_start(Manager *m) {
        Poison *p = m->poison;
        int r;

        r = sd_event_add_time(m->event, &p->work_source, CLOCK_MONOTONIC, UINT64_MAX, 0, on_work,
                              m);
        if (r >= 0)
                r = sd_event_source_set_enabled(p->work_source, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time(m->event, &p->save_source, CLOCK_MONOTONIC, UINT64_MAX, 0,
                                      on_save, m);
        if (r >= 0)
                r = sd_event_source_set_enabled(p->save_source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        watch_file(m);
        r = load(m);
        if (r < 0) {
                log_message(LOG_ERR, "Cannot read /" LEDGER_FILE ": %s", strerror(-r));
                return r;
        }
        if (p->file.condition == LEDGER_DAMAGED)
                save(m, LOCK_USEC);
        return 0;
}

/*
 * In a storm the kernel's lists take long to read, and the next start reads them anyway. It also
 * tells what nobody was told yet: the ledger says so.
 */
void poison_stop(Manager *m) {
        Poison *p = m->poison;
        int r;

        if (!p || !p->file.ledger)
                return;
        r = take_in_events(p);
        if (r < 0)
                log_message(LOG_WARNING,
                            "Cannot note the last events: %s; the kernel's list has them, too",
                            strerror(-r));
        if (ledger_is_dirty(p->file.ledger))
                save(m, LOCK_USEC);
}
