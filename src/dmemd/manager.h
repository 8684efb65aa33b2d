/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Manager - the daemon: what it knows, when it looks again, whom it tells
 *
 * It looks at the host at the start, on every event (a uevent of class dmem, a mount, an apply),
 * every few minutes, and when somebody asks on the bus and what it knows is older than a second.
 * Events that come together are answered by one look. What is new is told after that, once: one
 * PropertiesChanged for each object, one StateChanged, one journal entry for each reason.
 *
 * Without a bus it goes on with everything else, and tries to find one again.
 *
 * It changes nothing on the host but its own ledger of poisoned memory (poison.h). It needs no
 * privileges; what it may not read is unknown.
 */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-device.h>
#include <systemd/sd-event.h>

#include "basic/macro.h"
#include "host/metrics.h"
#include "host/status.h"
#include "plan/policy.h"

struct libmnt_monitor;
typedef struct Poison Poison;

typedef struct Manager {
        int root_fd;
        bool live; /* the root is this machine and not a captured tree */

        sd_event *event;
        sd_bus *bus;                       /* NULL while there is none */
        bool bus_failed;                   /* and that was said */
        bool bus_named;                    /* we have our name on it */
        sd_device_monitor *device_monitor; /* NULL unless live */
        struct libmnt_monitor *mount_monitor;

        sd_event_source *regular_source; /* every few minutes */
        sd_event_source *soon_source;    /* shortly after an event */
        sd_event_source *tell_source;    /* after we have looked */
        sd_event_source *bus_source;     /* tries to find a bus */
        sd_event_source *mount_source;
        sd_event_source *applied_source; /* NULL while there is no folder to watch */

        Policy *policy; /* of the last good configuration; NULL: there was none yet */
        Status *status; /* what we know; never NULL once manager_start() has returned */
        Status *told;   /* what the bus was told last; may be the same object as status */
        uint64_t told_events, told_missed; /* PoisonEvents and MissedEvents on the bus */
        uint64_t looked_usec;
        bool look_failed;     /* the last time, and that was said */
        char *plan_json;      /* GetPlan() of this status; NULL: not computed yet */
        char *announced;      /* what the journal was told last, see announce.h */
        bool ready;           /* systemd was told so */
        bool textfile_failed; /* the last time, and that was said */
        Poison *poison;       /* see poison.h */
} Manager;

/* @root: the directory to look at; `/` is this machine */
int manager_new(const char *root, Manager **ret);
Manager *manager_free(Manager *m); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(Manager *, manager_free);

/* Reads the configuration, looks at the host, goes on the bus and begins to watch. Logs errors. */
int manager_start(Manager *m);

/* Runs until SIGTERM or SIGINT. Returns 0, 1 if it gives up and said why, or a negative errno. */
int manager_run(Manager *m);

/*
 * Reads the configuration again. A bad one is logged, error by error, and the old one stays.
 * Returns 0, -EBADMSG (it stays) or -ENOMEM.
 */
int manager_load_config(Manager *m);

/* Looks at the host if what we know is older than @max_age_usec. On error we know what we knew. */
int manager_look(Manager *m, uint64_t max_age_usec);

/* Looks again soon, once for all the calls until then. */
void manager_look_soon(Manager *m);

/* The figures as text, to be freed. Returns 0 or -ENOMEM. */
int manager_get_metrics(Manager *m, MetricsFormat format, char **ret);

/* The plan as JSON; -ENODATA while there is no good configuration. The text stays ours. */
int manager_get_plan_json(Manager *m, const char **ret);
