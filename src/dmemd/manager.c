/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <libmount.h>
#include <signal.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "dmemd/announce.h"
#include "dmemd/bus.h"
#include "dmemd/log.h"
#include "dmemd/manager.h"
#include "dmemd/poison.h"
#include "dmemd/textfile.h"
#include "dmemd/watch.h"
#include "host/config.h"
#include "host/host-memory.h"
#include "host/host-plan.h"
#include "host/plan-json.h"

/* Events come in bursts: a mount makes three, loading the module one for each node. */
#define SOON_USEC (UINT64_C(100) * 1000)

/* Whoever waits for us to be ready does not want to wait longer for a bus that hangs. */
#define START_USEC (UINT64_C(10) * 1000 * 1000)

Manager *manager_free(Manager *m) {
        if (!m)
                return NULL;
        sd_event_source_disable_unref(m->regular_source);
        sd_event_source_disable_unref(m->soon_source);
        sd_event_source_disable_unref(m->tell_source);
        sd_event_source_disable_unref(m->bus_source);
        sd_event_source_disable_unref(m->mount_source);
        sd_event_source_disable_unref(m->applied_source);
        sd_device_monitor_unref(m->device_monitor);
        mnt_unref_monitor(m->mount_monitor);
        /* Without a flush: that would wait for a bus that hangs, and what can be sent is sent */
        sd_bus_close_unref(m->bus);
        sd_event_unref(m->event);
        if (m->told != m->status)
                status_free(m->told);
        status_free(m->status);
        policy_free(m->policy);
        free(m->plan_json);
        free(m->announced);
        poison_free(m->poison);
        closep(&m->root_fd);
        free(m);
        return NULL;
}

int manager_new(const char *root, Manager **ret) {
        _cleanup_(manager_freep) Manager *m = NULL;
        int r;

        m = new0(Manager, 1);
        if (!m)
                return -ENOMEM;
        m->root_fd = root_open(root);
        if (m->root_fd < 0)
                return m->root_fd;
        r = host_is_live(m->root_fd);
        if (r < 0)
                return r;
        m->live = r > 0;
        r = sd_event_default(&m->event);
        if (r < 0)
                return r;
        r = poison_new(&m->poison);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

static uint64_t now_usec(Manager *m) {
        uint64_t usec = 0;

        (void)sd_event_now(m->event, CLOCK_MONOTONIC, &usec);
        return usec;
}

/* Configuration */

int manager_load_config(Manager *m) {
        _cleanup_(config_errors_done) ConfigErrors errors = {};
        _cleanup_(policy_freep) Policy *policy = NULL;
        int r;

        r = config_load(m->root_fd, NULL, &errors, &policy);
        for (size_t i = 0; i < errors.n_items; i++) {
                const ConfigError *e = &errors.items[i];

                if (e->line > 0)
                        log_message(LOG_ERR, "%s:%u: %s", e->path, e->line, e->message);
                else
                        log_message(LOG_ERR, "%s: %s", e->path, e->message);
        }
        if (r < 0) {
                log_message(LOG_ERR, "The configuration cannot be used%s",
                            m->policy ? ": the one that was loaded before stays in place"
                                      : "; going on without a plan");
                return r;
        }
        policy_free(m->policy);
        m->policy = TAKE_PTR(policy);
        return 0;
}

/* Looking */

static void set_status_line(Manager *m) {
        const char *config = m->policy ? "" : "; the configuration cannot be read";
        const char *bus = m->bus ? "" : "; there is no system bus";
        char granted[FORMAT_SIZE_MAX], free_text[FORMAT_SIZE_MAX];
        const Status *s = m->status;

        if (s->granted.bytes > 0)
                (void)sd_notifyf(false, "STATUS=%s: %s reserved, %s free%s%s",
                                 state_to_string(s->state),
                                 format_size_rounded(granted, s->granted.bytes),
                                 format_size_rounded(free_text, s->free.bytes), config, bus);
        else
                (void)sd_notifyf(false, "STATUS=%s%s%s", state_to_string(s->state), config, bus);
}

/* Replaces what we know; what was told stays until it is told anew. */
static void replace_status(Manager *m, Status *status) {
        if (m->status != m->told)
                status_free(m->status);
        m->status = status;
        free(m->plan_json);
        m->plan_json = NULL;
}

/*
 * Runs after the answer to whoever made us look. Of the same priority as the bus, so that nobody
 * can keep us from it by asking on and on.
 */
static int on_tell(sd_event_source *source, void *userdata) {
        Manager *m = ASSERT_PTR(userdata);

        if (m->told != m->status) {
                bus_tell(m);
                status_free(m->told);
                m->told = m->status;
        }
        announce(m->status, &m->announced);
        /* Not with half of what there is to say */
        if (m->ready)
                textfile_write(m);
        set_status_line(m);
        return 0;
}

static int load_status(Manager *m, Status **ret) {
        _cleanup_(status_freep) Status *s = NULL;
        int r;

        r = status_load(m->root_fd, m->policy, &s);
        if (r < 0)
                return r;
        free(s->source);
        s->source = strdup("dmemd");
        if (!s->source)
                return -ENOMEM;
        *ret = TAKE_PTR(s);
        return 0;
}

int manager_look(Manager *m, uint64_t max_age_usec) {
        uint64_t now = now_usec(m);
        Status *status = NULL;
        int r;

        if (m->status && max_age_usec > 0 && now - m->looked_usec < max_age_usec)
                return 0;
        m->looked_usec = now;
        r = load_status(m, &status);
        if (r < 0) {
                /* Once, and not for each caller that makes us try again. */
                if (!m->look_failed)
                        log_message(LOG_WARNING, "Cannot look at the host: %s; %s", strerror(-r),
                                    m->status ? "what was known stays" : "nothing is known of it");
                m->look_failed = true;
                return r;
        }
        m->look_failed = false;
        replace_status(m, status);
        poison_check(m);
        return sd_event_source_set_enabled(m->tell_source, SD_EVENT_ONESHOT);
}

static int on_soon(sd_event_source *source, uint64_t usec, void *userdata) {
        Manager *m = ASSERT_PTR(userdata);

        (void)manager_look(m, 0);
        return 0;
}

void manager_look_soon(Manager *m) {
        int enabled, r;

        /* Not put off again and again: a storm must not keep us from looking at all. */
        if (sd_event_source_get_enabled(m->soon_source, &enabled) >= 0 && enabled != SD_EVENT_OFF)
                return;
        r = sd_event_source_set_time_relative(m->soon_source, SOON_USEC);
        if (r >= 0)
                r = sd_event_source_set_enabled(m->soon_source, SD_EVENT_ONESHOT);
        if (r < 0)
                (void)manager_look(m, 0);
}

static int add_sources(Manager *m) {
        int r;

        r = sd_event_add_defer(m->event, &m->tell_source, on_tell, m);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(m->tell_source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(m->event, &m->soon_source, CLOCK_MONOTONIC, SOON_USEC,
                                       SOON_USEC / 4, on_soon, m);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(m->soon_source, SD_EVENT_OFF);
}

/* Plan */

static int make_plan_json(Manager *m, char **ret) {
        _cleanup_(host_plan_freep) HostPlan *hp = NULL;
        int r;

        r = host_plan_make(m->root_fd, m->policy, 0, &hp);
        return r < 0 ? r : json_to_text(host_plan_to_json(hp), JSON_C_TO_STRING_PLAIN, ret);
}

int manager_get_plan_json(Manager *m, const char **ret) {
        int r;

        if (!m->policy)
                return -ENODATA;
        if (!m->plan_json) {
                r = make_plan_json(m, &m->plan_json);
                if (r < 0)
                        return r;
        }
        *ret = m->plan_json;
        return 0;
}

int manager_get_metrics(Manager *m, MetricsFormat format, char **ret) {
        _cleanup_free_ MaybeBytes *events = new0(MaybeBytes, m->status->n_nodes + 1);

        if (!events)
                return -ENOMEM;
        for (size_t i = 0; i < m->status->n_nodes; i++)
                events[i] = poison_count_of(m, m->status->nodes[i].id);
        return metrics_format(
                &(Metrics){
                        .status = m->status,
                        .events = events,
                        .missed = { .known = true, .bytes = poison_missed(m) },
                },
                format, ret);
}

/* Start, reload, stop */

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        Manager *m = ASSERT_PTR(userdata);
        struct timespec now;
        int r;

        /* MONOTONIC_USEC= is what Type=notify-reload of systemd 253 wants; 252 takes no notice. */
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        (void)sd_notifyf(
                false, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reading the configuration",
                (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
        r = manager_load_config(m);
        if (r >= 0)
                log_message(LOG_INFO, "The configuration is loaded");
        (void)manager_look(m, 0);
        (void)sd_notify(false, "READY=1");
        return 0;
}

static int add_signals(Manager *m) {
        static const int stop[] = { SIGTERM, SIGINT };
        sigset_t mask;
        int r;

        (void)sigemptyset(&mask);
        (void)sigaddset(&mask, SIGHUP);
        for (size_t i = 0; i < ELEMENTSOF(stop); i++)
                (void)sigaddset(&mask, stop[i]);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(stop); i++) {
                /* Without a handler: the event loop ends with 0 */
                r = sd_event_add_signal(m->event, NULL, stop[i], NULL, NULL);
                if (r < 0)
                        return r;
        }
        return sd_event_add_signal(m->event, NULL, SIGHUP, on_reload, m);
}

int manager_start(Manager *m) {
        int r;

        r = add_signals(m);
        if (r >= 0)
                r = add_sources(m);
        if (r >= 0)
                r = watch_clock(m);
        if (r >= 0)
                r = sd_event_set_watchdog(m->event, true);
        if (r < 0) {
                log_message(LOG_ERR, "Cannot set up the event loop: %s", strerror(-r));
                return r;
        }
        /* Watch first, then look: nothing that happens in between is missed. */
        watch_applied(m);
        if (m->live) {
                watch_devices(m);
                watch_mounts(m);
        }
        r = manager_load_config(m);
        if (r < 0 && r != -EBADMSG)
                return r;
        r = poison_start(m);
        if (r < 0)
                return r;
        r = manager_look(m, 0);
        if (r < 0)
                return r;
        m->told = m->status;
        m->announced = announce_load();
        return bus_start(m);
}

/* From here on everybody can ask, and hears of what happens. */
static void get_ready(Manager *m) {
        m->ready = true;
        poison_look(m, 0);
        m->told_events = bus_bytes(poison_count(m));
        textfile_write(m);
        (void)sd_notify(false, "READY=1");
}

/* As sd_event_loop(), but that we are ready once we are on the bus, or know that we will not be. */
static int run(Manager *m) {
        uint64_t now = now_usec(m), give_up = now + START_USEC;
        int code, r;

        while (sd_event_get_state(m->event) != SD_EVENT_FINISHED) {
                now = now_usec(m);
                if (!m->ready && (m->bus_named || m->bus_failed || now >= give_up))
                        get_ready(m);
                r = sd_event_run(m->event, m->ready ? UINT64_MAX : give_up - now);
                if (r < 0)
                        return r;
        }
        r = sd_event_get_exit_code(m->event, &code);
        return r < 0 ? r : code;
}

int manager_run(Manager *m) {
        int r;

        r = run(m);
        poison_stop(m);
        textfile_remove();
        (void)sd_notify(false, "STOPPING=1\nSTATUS=Shutting down");
        return r;
}
