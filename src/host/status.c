/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/status.h"
#include "basic/root-fs.h"
#include "host/bootloader.h"
#include "host/host-dmem.h"
#include "host/host-hugepages.h"
#include "host/host-memory.h"
#include "host/state.h"
#include "plan/advice.h"
#include "plan/cmdline.h"
#include "plan/dmem-argument.h"
#include "plan/hugepages-argument.h"
#include "plan/savings.h"

/* include/linux/mm_types.h: 64 bytes on every 64 bit architecture that we plan for. */
#define STRUCT_PAGE_SIZE UINT64_C(64)

static void status_node_done(StatusNode *node) {
        free(node->cpus);
        free(node->regions);
        free(node->pools);
}

Status *status_free(Status *s) {
        if (!s)
                return NULL;
        free(s->source);
        strv_free(s->configured);
        strv_free(s->booted);
        for (size_t i = 0; i < s->n_nodes; i++)
                status_node_done(&s->nodes[i]);
        free(s->nodes);
        dmem_mounts_done(&s->mounts);
        findings_done(&s->findings);
        free(s->advice);
        free(s);
        return NULL;
}

const StatusNode *status_find_node(const Status *s, unsigned id) {
        for (size_t i = 0; i < s->n_nodes; i++)
                if (s->nodes[i].id == id)
                        return &s->nodes[i];
        return NULL;
}

const StatusPool *status_find_pool(const StatusNode *node, uint64_t page_size) {
        for (size_t i = 0; i < node->n_pools; i++)
                if (node->pools[i].page_size == page_size)
                        return &node->pools[i];
        return NULL;
}

const char *configured_source_to_string(ConfiguredSource source) {
        static const char *const names[_CONFIGURED_SOURCE_MAX] = {
                [CONFIGURED_BOOT_LOADER] = "boot-loader",
                [CONFIGURED_APPLIED] = "applied",
        };

        return names[source];
}

static int configured_from_boot_loader(int root_fd, const Policy *policy, char ***ret) {
        _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
        int r;

        r = boot_loader_find(root_fd, policy, &loader);
        if (r < 0)
                return r;
        return boot_loader_configured(loader, ret);
}

static int configured_from_applied(int root_fd, char ***ret) {
        _cleanup_(applied_freep) Applied *applied = NULL;
        int r;

        r = state_load_applied(root_fd, &applied);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(applied->arguments);
        return 0;
}

/* The boot loader's files are the truth; where they are for root only, what apply noted will do. */
static int load_configured(int root_fd, const Policy *policy, Status *s) {
        int r;

        r = configured_from_boot_loader(root_fd, policy, &s->configured);
        if (r >= 0) {
                s->configured_source = CONFIGURED_BOOT_LOADER;
                return 0;
        }
        if (r == -ENOMEM)
                return r;
        r = configured_from_applied(root_fd, &s->configured);
        if (r >= 0) {
                s->configured_source = CONFIGURED_APPLIED;
                return 0;
        }
        return r == -ENOMEM ? r : 0;
}

static MaybeBytes known(uint64_t bytes) {
        return (MaybeBytes){ .known = true, .bytes = bytes };
}

/* Garbage in sysfs or on a command line must not make a large sum a small one. */
static uint64_t add_saturated(uint64_t a, uint64_t b) {
        return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* What @arguments ask for on a node; ranges are told apart by node only where there is just one. */
static int requested_of(char *const *arguments, const TopologyNode *node, size_t n_nodes,
                        MaybeBytes *ret) {
        _cleanup_(dmem_request_done) DmemRequest request = {};
        DmemAsked asked, ranges;
        int r;

        *ret = (MaybeBytes){};
        if (!arguments)
                return 0;
        r = dmem_request_parse(arguments, &request);
        if (r < 0)
                return r;
        asked = dmem_request_node(&request, node->id,
                                  node->source == MEMORY_UNKNOWN ? NULL : &node->installed);
        ranges = dmem_request_ranges(&request);
        if (asked.known && (ranges.bytes == 0 || n_nodes == 1))
                *ret = known(add_saturated(asked.bytes, ranges.bytes));
        return 0;
}

static int copy_regions(const DmemNode *from, StatusNode *to) {
        if (from->n_regions == 0)
                return 0;
        to->regions = new0(DmemRange, from->n_regions);
        if (!to->regions)
                return -ENOMEM;
        memcpy(to->regions, from->regions, from->n_regions * sizeof(DmemRange));
        to->n_regions = from->n_regions;
        return 0;
}

static int fill_granted(const InForce *in_force, StatusNode *node) {
        const DmemNode *d = in_force_find_node(in_force, node->id);

        if (d) {
                if (!d->requested_unknown)
                        node->booted = known(d->requested);
                if (!d->size_unknown)
                        node->granted = known(d->size);
                if (!d->usage_unknown) {
                        node->used = known(d->used);
                        node->free = known(d->free);
                        node->poisoned = known(d->poisoned);
                }
                return copy_regions(d, node);
        }
        /* Without the class, memory may be reserved and nobody can say on which node. */
        if (in_force->class_present || (!in_force->reserved && !in_force->reserved_unknown))
                node->granted = node->used = node->free = node->poisoned = known(0);
        return 0;
}

/* Huge pages that command lines ask for. */
typedef struct AskedPages {
        HugePagesAsked *items;
        size_t n_items;
        bool known;
} AskedPages;

static void asked_pages_done(AskedPages *asked) {
        free(asked->items);
}

static int asked_pages_load(char *const *arguments, AskedPages *ret) {
        ret->known = arguments != NULL;
        return hugepages_parse(arguments, &ret->items, &ret->n_items);
}

static MaybeBytes asked_pages_find(const AskedPages *asked, unsigned node, uint64_t page_size) {
        return (MaybeBytes){
                .known = asked->known,
                .bytes = hugepages_find(asked->items, asked->n_items, node, page_size),
        };
}

static int fill_pools(const AskedPages *configured, const AskedPages *booted,
                      const InForce *in_force, StatusNode *node) {
        static const uint64_t page_sizes[] = { GiB, 2 * MiB };

        node->pools = new0(StatusPool, ELEMENTSOF(page_sizes));
        if (!node->pools)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(page_sizes); i++) {
                const HugePool *pool = in_force_find_pool(in_force, node->id, page_sizes[i]);
                StatusPool *p = &node->pools[node->n_pools];

                *p = (StatusPool){
                        .page_size = page_sizes[i],
                        .configured = asked_pages_find(configured, node->id, page_sizes[i]),
                        .booted = asked_pages_find(booted, node->id, page_sizes[i]),
                };
                if (pool && pool->known)
                        p->granted = known(pool->total);
                if (pool && pool->free_known)
                        p->free = known(pool->free);
                if (p->configured.bytes > 0 || p->booted.bytes > 0 || p->granted.bytes > 0)
                        node->n_pools++;
        }
        return 0;
}

static int fill_all_pools(const InForce *in_force, Status *s) {
        _cleanup_(asked_pages_done) AskedPages configured = {}, booted = {};
        int r;

        r = asked_pages_load(s->configured, &configured);
        if (r >= 0)
                r = asked_pages_load(s->booted, &booted);
        for (size_t i = 0; r >= 0 && i < s->n_nodes; i++)
                r = fill_pools(&configured, &booted, in_force, &s->nodes[i]);
        return r;
}

static int fill_nodes(const Topology *t, const InForce *in_force, Status *s) {
        int r;

        s->nodes = new0(StatusNode, t->n_nodes);
        if (!s->nodes && t->n_nodes > 0)
                return -ENOMEM;
        for (size_t i = 0; i < t->n_nodes; i++) {
                StatusNode *node = &s->nodes[s->n_nodes++];

                node->id = t->nodes[i].id;
                if (t->nodes[i].cpu_list) {
                        node->cpus = strdup(t->nodes[i].cpu_list);
                        if (!node->cpus)
                                return -ENOMEM;
                }
                r = requested_of(s->configured, &t->nodes[i], t->n_nodes, &node->configured);
                if (r < 0)
                        return r;
                r = requested_of(s->booted, &t->nodes[i], t->n_nodes, &node->booted);
                if (r < 0)
                        return r;
                r = fill_granted(in_force, node);
                if (r < 0)
                        return r;
        }
        return fill_all_pools(in_force, s);
}

static void add_to(MaybeBytes *sum, MaybeBytes value) {
        sum->known = sum->known && value.known;
        sum->bytes = add_saturated(sum->bytes, value.bytes);
}

static bool has_word(char *const *words, const char *word) {
        for (; words && *words; words++)
                if (streq(*words, word))
                        return true;
        return false;
}

/* What HVO saves on the huge pages of this boot. */
static uint64_t saved_by_hvo(const Topology *t, const Status *s) {
        uint64_t saved = 0;

        if (!has_word(s->booted, "hugetlb_free_vmemmap=on"))
                return 0;
        for (size_t i = 0; i < s->n_nodes; i++)
                for (size_t k = 0; k < s->nodes[i].n_pools; k++) {
                        const StatusPool *p = &s->nodes[i].pools[k];

                        saved = add_saturated(saved, savings_of_hvo(p->granted.bytes, p->page_size,
                                                                    t->page_size));
                }
        return saved;
}

static void fill_sums(const Topology *t, Status *s) {
        s->requested = s->granted = s->used = s->free = s->poisoned = known(0);
        for (size_t i = 0; i < s->n_nodes; i++) {
                const StatusNode *node = &s->nodes[i];

                add_to(&s->requested, node->booted);
                add_to(&s->granted, node->granted);
                add_to(&s->used, node->used);
                add_to(&s->free, node->free);
                add_to(&s->poisoned, node->poisoned);
        }
        s->metadata_saved.known = s->granted.known;
        s->metadata_saved.bytes = add_saturated(s->granted.bytes / t->page_size * STRUCT_PAGE_SIZE,
                                                saved_by_hvo(t, s));
}

static int judge(const Topology *t, const InForce *in_force, const Policy *policy, Status *s) {
        _cleanup_(plan_freep) Plan *plan = NULL;
        bool unmounted;
        int r;

        if (policy) {
                r = plan_make(t, policy, 0, &plan);
                if (r < 0)
                        return r;
        }
        r = state_judge(plan, s->configured, s->booted, in_force, &s->state, &s->findings);
        if (r < 0)
                return r;
        s->reboot_required =
                s->configured && s->booted && !arguments_equal(s->configured, s->booted);
        unmounted = s->granted.bytes > 0 && s->mounts.n_items == 0 && streq(s->source, "sysfs");
        s->advice = strdup(advice_choose(s->state, &s->findings, unmounted));
        return s->advice ? 0 : -ENOMEM;
}

static int status_fill(int root_fd, const Policy *policy, const InForce *in_force, Status *s) {
        _cleanup_(topology_freep) Topology *t = NULL;
        _cleanup_(policy_freep) Policy *defaults = NULL;
        int r;

        r = host_load_topology(root_fd, in_force, &t);
        if (r < 0)
                return r;
        r = host_load_booted(root_fd, &s->booted);
        if (r < 0)
                return r;
        if (!policy) {
                defaults = policy_new();
                if (!defaults)
                        return -ENOMEM;
        } else {
                s->has_backend = true;
                s->backend = policy->backend;
        }
        r = load_configured(root_fd, policy ?: defaults, s);
        if (r < 0)
                return r;
        r = host_load_mounts(root_fd, &s->mounts);
        if (r < 0)
                return r;
        r = fill_nodes(t, in_force, s);
        if (r < 0)
                return r;
        fill_sums(t, s);
        return judge(t, in_force, policy, s);
}

int status_load(int root_fd, const Policy *policy, Status **ret) {
        _cleanup_(in_force_done) InForce in_force = {};
        _cleanup_(status_freep) Status *s = NULL;
        int r;

        s = new0(Status, 1);
        if (!s)
                return -ENOMEM;
        r = host_is_live(root_fd);
        if (r < 0)
                return r;
        s->source = strdup(r > 0 ? "sysfs" : "files");
        if (!s->source)
                return -ENOMEM;
        r = host_load_in_force(root_fd, &in_force);
        if (r >= 0)
                r = host_load_pools(root_fd, &in_force);
        if (r < 0)
                return r;
        r = status_fill(root_fd, policy, &in_force, s);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(s);
        return 0;
}
