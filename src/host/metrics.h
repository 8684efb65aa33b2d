/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Metrics - the figures of a host as text for Prometheus and what reads the same
 *
 * Names and meanings are described in dmemd(8) and never change. A number that is not known is
 * left out: a gap in a graph is the truth, a zero would not be.
 */

#include "host/status.h"

typedef enum MetricsFormat {
        METRICS_OPENMETRICS, /* OpenMetrics 1.0 */
        METRICS_PROMETHEUS,  /* text format 0.0.4, which is all that node_exporter reads */
} MetricsFormat;

typedef struct Metrics {
        const Status *status;
        const MaybeBytes *events; /* of status->nodes[i]: their number in this boot */
        MaybeBytes missed;        /* of all of these; only the daemon can know */
} Metrics;

/* @ret: to be freed. Returns 0 or -ENOMEM. */
int metrics_format(const Metrics *m, MetricsFormat format, char **ret);

/*
 * The event counters of the nodes of @status, from class dmem; an array of status->n_nodes, to be
 * freed. Returns 0, -ENOMEM or what reading sysfs said.
 */
int metrics_load_events(int root_fd, const Status *status, MaybeBytes **ret);
