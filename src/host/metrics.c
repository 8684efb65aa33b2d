/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>
#include <stdio.h>

#include "host/host-poison.h"
#include "host/metrics.h"

typedef struct Writer {
        FILE *f;
        MetricsFormat format;
} Writer;

/* What stands above the samples of a gauge; @unit is the end of its name, or NULL. */
static void begin_gauge(const Writer *w, const char *name, const char *unit, const char *help) {
        fprintf(w->f, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
        if (unit && w->format == METRICS_OPENMETRICS)
                fprintf(w->f, "# UNIT %s %s\n", name, unit);
}

/*
 * The other types are named differently: to OpenMetrics `_total` and `_info` are not part of the
 * name, and the older format knows no type for information.
 */
static void begin_suffixed(const Writer *w, const char *name, const char *suffix, const char *type,
                           const char *help) {
        bool open = w->format == METRICS_OPENMETRICS;

        if (open)
                suffix = "";
        else if (streq(type, "info"))
                type = "gauge";
        fprintf(w->f, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, suffix, help, name, suffix, type);
}

static void write_info(const Writer *w, const Status *s) {
        begin_suffixed(w, "dmem", "_info", "info",
                       "Version of dmemd and configured backend, empty if it cannot be read.");
        fprintf(w->f, "dmem_info{version=\"%s\",backend=\"%s\"} 1\n", PROJECT_VERSION,
                s->has_backend ? backend_to_string(s->backend) : "");
}

static void write_state(const Writer *w, const Status *s) {
        begin_gauge(
                w, "dmem_state", NULL,
                "1 for the state the host is in, 0 for the others: this boot against the plan.");
        for (State state = 0; state < _STATE_MAX; state++)
                fprintf(w->f, "dmem_state{state=\"%s\"} %d\n", state_to_string(state),
                        s->state == state);
        if (s->configured && s->booted) {
                begin_gauge(w, "dmem_reboot_required", NULL,
                            "Whether the next boot gets other arguments than this one had.");
                fprintf(w->f, "dmem_reboot_required %d\n", s->reboot_required);
        }
        if (s->metadata_saved.known) {
                begin_gauge(w, "dmem_metadata_saved_bytes", "bytes",
                            "What struct pages would take in this boot without dmemd.");
                fprintf(w->f, "dmem_metadata_saved_bytes %" PRIu64 "\n", s->metadata_saved.bytes);
        }
}

static const struct {
        const char *name, *help;
        size_t offset;
} gauges[] = {
        { "dmem_requested_bytes", "Memory that this boot asked for.",
          offsetof(StatusNode, booted) },
        { "dmem_granted_bytes", "Memory that the kernel has set aside.",
          offsetof(StatusNode, granted) },
        { "dmem_used_bytes", "Of that, what files have.", offsetof(StatusNode, used) },
        { "dmem_free_bytes", "Of that, what nobody has.", offsetof(StatusNode, free) },
        { "dmem_poisoned_bytes", "Of that, what is out of use for good.",
          offsetof(StatusNode, poisoned) },
};

static void write_gauges(const Writer *w, const Status *s) {
        for (size_t k = 0; k < ELEMENTSOF(gauges); k++) {
                begin_gauge(w, gauges[k].name, "bytes", gauges[k].help);
                for (size_t i = 0; i < s->n_nodes; i++) {
                        const char *node = (const char *)&s->nodes[i];
                        MaybeBytes value = *(const MaybeBytes *)(node + gauges[k].offset);

                        if (value.known)
                                fprintf(w->f, "%s{node=\"%u\"} %" PRIu64 "\n", gauges[k].name,
                                        s->nodes[i].id, value.bytes);
                }
        }
}

static void write_events(const Writer *w, const Metrics *m) {
        begin_suffixed(w, "dmem_poison_events", "_total", "counter",
                       "How many times memory was poisoned or retired in this boot.");
        for (size_t i = 0; i < m->status->n_nodes; i++)
                if (m->events[i].known)
                        fprintf(w->f, "dmem_poison_events_total{node=\"%u\"} %" PRIu64 "\n",
                                m->status->nodes[i].id, m->events[i].bytes);
        if (!m->missed.known)
                return;
        begin_suffixed(w, "dmem_missed_events", "_total", "counter",
                       "How many of these dmemd had to find by itself since it runs.");
        fprintf(w->f, "dmem_missed_events_total %" PRIu64 "\n", m->missed.bytes);
}

int metrics_format(const Metrics *m, MetricsFormat format, char **ret) {
        _cleanup_free_ char *text = NULL;
        Writer w = { .format = format };
        size_t size;

        w.f = open_memstream(&text, &size);
        if (!w.f)
                return -ENOMEM;
        write_info(&w, m->status);
        write_state(&w, m->status);
        write_gauges(&w, m->status);
        write_events(&w, m);
        if (format == METRICS_OPENMETRICS)
                fputs("# EOF\n", w.f);
        if (fclose(w.f) != 0)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        return 0;
}

int metrics_load_events(int root_fd, const Status *status, MaybeBytes **ret) {
        _cleanup_free_ MaybeBytes *events = new0(MaybeBytes, status->n_nodes + 1);
        int r;

        if (!events)
                return -ENOMEM;
        for (size_t i = 0; i < status->n_nodes; i++) {
                r = host_load_poison_events(root_fd, status->nodes[i].id, &events[i].bytes);
                if (r < 0)
                        return r;
                events[i].known = r > 0;
        }
        *ret = TAKE_PTR(events);
        return 0;
}
