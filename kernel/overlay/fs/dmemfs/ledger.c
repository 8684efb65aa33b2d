// SPDX-License-Identifier: GPL-2.0
#include <linux/bug.h>
#include <linux/errno.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/slab.h>

#include "ledger.h"

/**
 * dmem_ledger_init() - an empty ledger
 * @ledger:   to be initialized
 * @nr_nodes: number of nodes; the caller sets free[] before the first promise
 *
 * Return: %0 or -ENOMEM.
 */
int dmem_ledger_init(struct dmem_ledger *ledger, unsigned int nr_nodes)
{
	memset(ledger, 0, sizeof(*ledger));
	INIT_LIST_HEAD(&ledger->accounts);
	ledger->nr_nodes = nr_nodes;
	ledger->free = kcalloc(nr_nodes, sizeof(*ledger->free), GFP_KERNEL);
	ledger->taken = kcalloc(nr_nodes, sizeof(*ledger->taken), GFP_KERNEL);
	ledger->debt = kcalloc(nr_nodes, sizeof(*ledger->debt), GFP_KERNEL);
	ledger->came_from = kcalloc(nr_nodes, sizeof(*ledger->came_from), GFP_KERNEL);
	ledger->via = kcalloc(nr_nodes, sizeof(*ledger->via), GFP_KERNEL);
	ledger->queue = kcalloc(nr_nodes, sizeof(*ledger->queue), GFP_KERNEL);
	if (!ledger->free || !ledger->taken || !ledger->debt || !ledger->came_from ||
	    !ledger->via || !ledger->queue) {
		dmem_ledger_destroy(ledger);
		return -ENOMEM;
	}
	return 0;
}

/**
 * dmem_ledger_destroy() - free what the ledger uses
 * @ledger: may be zeroed or half built
 */
void dmem_ledger_destroy(struct dmem_ledger *ledger)
{
	kfree(ledger->queue);
	kfree(ledger->via);
	kfree(ledger->came_from);
	kfree(ledger->debt);
	kfree(ledger->taken);
	kfree(ledger->free);
	memset(ledger, 0, sizeof(*ledger));
}

/**
 * dmem_account_init() - an account that may use all nodes, without limit
 * @account: to be initialized; the caller may narrow allowed[] and limit before it is opened
 * @ledger:  for the number of nodes
 *
 * Return: %0 or -ENOMEM.
 */
int dmem_account_init(struct dmem_account *account, struct dmem_ledger *ledger)
{
	unsigned int n;

	INIT_LIST_HEAD(&account->entry);
	account->limit = U64_MAX;
	account->charged = 0;
	account->broken = 0;
	account->allowed = kcalloc(ledger->nr_nodes, sizeof(*account->allowed), GFP_KERNEL);
	account->promised = kcalloc(ledger->nr_nodes, sizeof(*account->promised), GFP_KERNEL);
	if (!account->allowed || !account->promised) {
		dmem_account_destroy(account);
		return -ENOMEM;
	}
	for (n = 0; n < ledger->nr_nodes; n++)
		account->allowed[n] = true;
	return 0;
}

/**
 * dmem_account_open() - from now on promises can be made to the account
 * @account: initialized
 * @ledger:  the ledger
 */
void dmem_account_open(struct dmem_account *account, struct dmem_ledger *ledger)
{
	list_add_tail(&account->entry, &ledger->accounts);
}

/**
 * dmem_account_destroy() - close and free
 * @account: nothing is charged to it; may be zeroed or never have been opened
 */
void dmem_account_destroy(struct dmem_account *account)
{
	if (account->entry.next)
		list_del_init(&account->entry);
	kfree(account->promised);
	kfree(account->allowed);
	account->promised = NULL;
	account->allowed = NULL;
}

static u64 unpromised(const struct dmem_ledger *ledger, unsigned int node)
{
	return ledger->free[node] - ledger->taken[node];
}

static void assign(struct dmem_ledger *ledger, struct dmem_account *account, unsigned int node,
		   u64 nr)
{
	account->promised[node] += nr;
	ledger->taken[node] += nr;
}

static void unassign(struct dmem_ledger *ledger, struct dmem_account *account, unsigned int node,
		     u64 nr)
{
	account->promised[node] -= nr;
	ledger->taken[node] -= nr;
}

/*
 * Move promises off @node until @nr units of it are not promised. Breadth first from @node: a
 * promise that is assigned to a node can move to every node its account allows. The path ends at
 * a node with units left; what fits is moved along it, backwards.
 *
 * Returns how many units of @node are not promised now, at most @nr.
 */
static u64 vacate(struct dmem_ledger *ledger, unsigned int node, u64 nr)
{
	while (unpromised(ledger, node) < nr) {
		unsigned int head = 0, tail = 0, n, m;
		struct dmem_account *account;
		int end = -1;
		u64 move;

		for (n = 0; n < ledger->nr_nodes; n++)
			ledger->came_from[n] = -1;
		ledger->came_from[node] = node;
		ledger->queue[tail++] = node;

		while (head < tail && end < 0) {
			n = ledger->queue[head++];
			list_for_each_entry(account, &ledger->accounts, entry) {
				if (!account->promised[n])
					continue;
				for (m = 0; m < ledger->nr_nodes && end < 0; m++) {
					if (!account->allowed[m] || ledger->came_from[m] >= 0)
						continue;
					ledger->came_from[m] = n;
					ledger->via[m] = account;
					ledger->queue[tail++] = m;
					if (unpromised(ledger, m))
						end = m;
				}
				if (end >= 0)
					break;
			}
		}
		if (end < 0)
			break;

		move = min(nr - unpromised(ledger, node), unpromised(ledger, end));
		for (m = end; m != node; m = ledger->came_from[m])
			move = min(move, ledger->via[m]->promised[ledger->came_from[m]]);
		for (m = end; m != node; m = ledger->came_from[m]) {
			unassign(ledger, ledger->via[m], ledger->came_from[m], move);
			assign(ledger, ledger->via[m], m, move);
		}
	}
	return min(nr, unpromised(ledger, node));
}

/* Assign @nr units of promises of @account to nodes. Returns how many found a place. */
static u64 place(struct dmem_ledger *ledger, struct dmem_account *account, u64 nr)
{
	u64 left = nr, got;
	unsigned int n;

	for (n = 0; n < ledger->nr_nodes && left; n++) {
		if (!account->allowed[n])
			continue;
		got = min(left, unpromised(ledger, n));
		assign(ledger, account, n, got);
		left -= got;
	}
	/* Only now push others aside. */
	for (n = 0; n < ledger->nr_nodes && left; n++) {
		if (!account->allowed[n])
			continue;
		got = vacate(ledger, n, left);
		assign(ledger, account, n, got);
		left -= got;
	}
	return nr - left;
}

/* The opposite, wherever they are */
static void unplace(struct dmem_ledger *ledger, struct dmem_account *account, u64 nr)
{
	unsigned int n;

	for (n = 0; n < ledger->nr_nodes && nr; n++) {
		u64 part = min(nr, account->promised[n]);

		unassign(ledger, account, n, part);
		nr -= part;
	}
	WARN_ON_ONCE(nr);
}

/* Memory of a node was added: see whose broken promises can be kept again. */
static void mend(struct dmem_ledger *ledger)
{
	struct dmem_account *account;

	list_for_each_entry(account, &ledger->accounts, entry)
		if (account->broken)
			account->broken -= place(ledger, account, account->broken);
}

/* Units of a node come back, if they are not owed. */
static void add_free(struct dmem_ledger *ledger, unsigned int node, u64 nr)
{
	u64 paid = min(nr, ledger->debt[node]);

	ledger->debt[node] -= paid;
	ledger->free[node] += nr - paid;
}

/**
 * dmem_ledger_promise() - promise memory
 * @ledger:  the ledger
 * @account: who gets the promise
 * @nr:      units
 *
 * Return: %0, or -ENOSPC if the limit of the account or the memory of its nodes does not allow
 * it; nothing is promised then.
 */
int dmem_ledger_promise(struct dmem_ledger *ledger, struct dmem_account *account, u64 nr)
{
	u64 placed;

	if (nr > account->limit || account->charged > account->limit - nr)
		return -ENOSPC;

	placed = place(ledger, account, nr);
	if (placed < nr) {
		unplace(ledger, account, placed);
		return -ENOSPC;
	}
	account->charged += nr;
	return 0;
}

/**
 * dmem_ledger_release() - take a promise back that was not used
 * @ledger:  the ledger
 * @account: who had the promise
 * @nr:      units, no more than are promised
 */
void dmem_ledger_release(struct dmem_ledger *ledger, struct dmem_account *account, u64 nr)
{
	u64 broken = min(nr, account->broken);

	account->broken -= broken;
	unplace(ledger, account, nr - broken);
	account->charged -= nr;
	mend(ledger);
}

/**
 * dmem_ledger_take() - turn a promise into memory of a node
 * @ledger:  the ledger
 * @account: who has the promise
 * @node:    where the memory is to come from
 * @nr:      units, no more than are promised
 *
 * Return: true if the node can give all of it while every other promise can still be kept; false,
 * and nothing has changed for the account, if it cannot or if so many of its promises are broken.
 */
bool dmem_ledger_take(struct dmem_ledger *ledger, struct dmem_account *account,
		      unsigned int node, u64 nr)
{
	u64 here = min(nr, account->promised[node]), all = 0;
	unsigned int n;

	if (!account->allowed[node] || ledger->free[node] < nr)
		return false;
	for (n = 0; n < ledger->nr_nodes; n++)
		all += account->promised[n];
	if (all < nr)
		return false;

	if (unpromised(ledger, node) >= nr - here) {
		unassign(ledger, account, node, here);
		unplace(ledger, account, nr - here);
		ledger->free[node] -= nr;
		return true;
	}

	/*
	 * Others must move. Where to may depend on where the rest of our promises is: see if there
	 * is a place for all of it when the node is smaller by @nr.
	 */
	unplace(ledger, account, all);
	if (vacate(ledger, node, nr) == nr) {
		u64 placed;

		ledger->free[node] -= nr;
		placed = place(ledger, account, all - nr);
		if (placed == all - nr)
			return true;
		unplace(ledger, account, placed);
		ledger->free[node] += nr;
	}
	/* There was a place for all before, so there is one now. */
	WARN_ON_ONCE(place(ledger, account, all) != all);
	return false;
}

/**
 * dmem_ledger_untake() - undo dmem_ledger_take(): the memory is promised again
 * @ledger:  the ledger
 * @account: who gets the promise back
 * @node:    where the memory was taken
 * @nr:      units
 * @back:    of these, units that come back to the node; the others have gone away
 */
void dmem_ledger_untake(struct dmem_ledger *ledger, struct dmem_account *account,
			unsigned int node, u64 nr, u64 back)
{
	u64 paid = min(back, ledger->debt[node]);

	add_free(ledger, node, back);
	assign(ledger, account, node, back - paid);
	account->broken += nr - (back - paid);
	mend(ledger);
}

/**
 * dmem_ledger_return() - memory that was with no account has come back to its node
 * @ledger: the ledger
 * @node:   where it belongs
 * @nr:     units
 */
void dmem_ledger_return(struct dmem_ledger *ledger, unsigned int node, u64 nr)
{
	add_free(ledger, node, nr);
	mend(ledger);
}

/**
 * dmem_ledger_put() - an account has memory no more
 * @ledger:  the ledger
 * @account: who had it
 * @node:    where it belongs
 * @nr:      units
 * @back:    of these, units that come back to the node; the others have gone away
 */
void dmem_ledger_put(struct dmem_ledger *ledger, struct dmem_account *account,
		     unsigned int node, u64 nr, u64 back)
{
	account->charged -= nr;
	dmem_ledger_return(ledger, node, back);
}

/**
 * dmem_ledger_withdraw() - free memory has gone away
 * @ledger: the ledger
 * @node:   where it was
 * @nr:     units
 *
 * Units that are taken already, by somebody who has still to look for them, are owed.
 *
 * Return: how many promises are broken by it.
 */
u64 dmem_ledger_withdraw(struct dmem_ledger *ledger, unsigned int node, u64 nr)
{
	u64 gone = min(nr, ledger->free[node]), missing;
	struct dmem_account *account;

	ledger->debt[node] += nr - gone;
	missing = gone - vacate(ledger, node, gone);
	nr = missing;
	list_for_each_entry(account, &ledger->accounts, entry) {
		u64 part = min(missing, account->promised[node]);

		unassign(ledger, account, node, part);
		account->broken += part;
		missing -= part;
	}
	ledger->free[node] -= gone;
	return nr;
}

/**
 * dmem_ledger_available() - how much could be promised now
 * @ledger:  the ledger
 * @account: who asks
 *
 * Return: units.
 */
u64 dmem_ledger_available(struct dmem_ledger *ledger, struct dmem_account *account)
{
	u64 placed;

	if (account->limit < account->charged)
		return 0;
	/* Try it. This may move the promises of others to other nodes, which nobody can see. */
	placed = place(ledger, account, account->limit - account->charged);
	unplace(ledger, account, placed);
	return placed;
}
