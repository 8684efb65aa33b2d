/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ledger - what has been promised to whom
 *
 * A file gets a promise for its memory when it grows, and the memory itself when it is touched. A
 * promise can always be kept: an access never finds the pool empty. But the node is only chosen
 * at the touch, so most promises are not bound to one node, only to the nodes of their mount.
 *
 * The ledger therefore keeps, as proof that all promises can be kept at the same time, an
 * assignment of every promised unit to a node with a free unit for it. The assignment says nothing
 * about where memory will be taken: units are moved between nodes whenever another promise, or a
 * touch that prefers another node, needs the place. Finding the place is a search for an
 * augmenting path over the nodes, of which there are few.
 *
 *	free on node 0:  ########....      # assigned to a promise
 *	free on node 1:  ####........      . not promised
 *
 * Memory can go away for good: the hardware has lost it. What is not promised goes first. Where all
 * is promised, a promise is broken: nothing is assigned to it any more, and whoever comes last to
 * touch what was promised to that account finds nothing. Memory that comes back mends promises
 * before it can be promised again.
 *
 * Knows nodes as numbers from 0 to nr_nodes - 1 and memory as a count of units. Pure, like the
 * pool; the caller serializes all calls for a ledger.
 *
 * Invariants, for each node: the sum of promised[] over all accounts is taken[], and
 * taken[] <= free[]. For each account: promised[] is 0 outside its nodes, and the sum of
 * promised[], of broken, and of what it has is charged. No broken promise could be mended.
 */
#ifndef _DMEMFS_LEDGER_H
#define _DMEMFS_LEDGER_H

#include <linux/list.h>
#include <linux/types.h>

/**
 * struct dmem_ledger - all promises
 * @nr_nodes: number of nodes
 * @free:     per node, units that nobody has
 * @taken:    per node, of these, units assigned to promises
 * @debt:     per node, units that have gone away while they were taken; the next that come back pay
 * @accounts: all accounts
 * @came_from: scratch space of the path search
 * @via:      scratch space of the path search
 * @queue:    scratch space of the path search
 */
struct dmem_ledger {
	unsigned int nr_nodes;
	u64 *free;
	u64 *taken;
	u64 *debt;
	struct list_head accounts;
	int *came_from;
	struct dmem_account **via;
	unsigned int *queue;
};

/**
 * struct dmem_account - the promises made to one mount
 * @entry:    in &dmem_ledger.accounts
 * @limit:    most units, promised and used together
 * @charged:  units promised and used now
 * @allowed:  per node, whether memory may come from it
 * @promised: per node, units of the promises that are assigned to it
 * @broken:   units of the promises that no memory is assigned to
 */
struct dmem_account {
	struct list_head entry;
	u64 limit;
	u64 charged;
	bool *allowed;
	u64 *promised;
	u64 broken;
};

int dmem_ledger_init(struct dmem_ledger *ledger, unsigned int nr_nodes);
void dmem_ledger_destroy(struct dmem_ledger *ledger);

int dmem_account_init(struct dmem_account *account, struct dmem_ledger *ledger);
void dmem_account_open(struct dmem_account *account, struct dmem_ledger *ledger);
void dmem_account_destroy(struct dmem_account *account);

int dmem_ledger_promise(struct dmem_ledger *ledger, struct dmem_account *account, u64 nr);
void dmem_ledger_release(struct dmem_ledger *ledger, struct dmem_account *account, u64 nr);
bool dmem_ledger_take(struct dmem_ledger *ledger, struct dmem_account *account,
		      unsigned int node, u64 nr);
void dmem_ledger_untake(struct dmem_ledger *ledger, struct dmem_account *account,
			unsigned int node, u64 nr, u64 back);
void dmem_ledger_return(struct dmem_ledger *ledger, unsigned int node, u64 nr);
void dmem_ledger_put(struct dmem_ledger *ledger, struct dmem_account *account,
		     unsigned int node, u64 nr, u64 back);
u64 dmem_ledger_withdraw(struct dmem_ledger *ledger, unsigned int node, u64 nr);

u64 dmem_ledger_available(struct dmem_ledger *ledger, struct dmem_account *account);

#endif /* _DMEMFS_LEDGER_H */
