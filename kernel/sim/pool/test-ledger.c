// SPDX-License-Identifier: GPL-2.0
/*
 * The ledger against the theorem behind it: promises can all be kept if, and only if, for every
 * set of nodes, what is promised to accounts confined to that set is not more than what is free on
 * it. With few nodes all sets can be tried. When memory has gone away, the largest excess over all
 * sets is how many promises must be broken, and no more may be.
 */
#include <errno.h>
#include <linux/bug.h>
#include <linux/slab.h>

#include "../check.h"
#include "ledger.h"

unsigned long sim_warnings, sim_fail_every, sim_allocations;

#define NODES		4
#define ACCOUNTS	6

static struct dmem_ledger ledger;
static struct dmem_account accounts[ACCOUNTS];
static u64 promised[ACCOUNTS], used[ACCOUNTS][NODES], size[NODES];
static unsigned long rng = 1;

static unsigned long random_below(unsigned long n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % n;
}

static unsigned int mask_of(unsigned int a)
{
	unsigned int n, mask = 0;

	for (n = 0; n < NODES; n++)
		mask |= accounts[a].allowed[n] << n;
	return mask;
}

static u64 assigned(unsigned int a)
{
	return promised[a] - accounts[a].broken;
}

/*
 * Could account @a have @nr more (or a unit less on @node, if that is not -1), while all promises
 * that are not broken are kept?
 */
static bool possible(unsigned int a, u64 nr, int node)
{
	unsigned int set, n, i;

	for (set = 1; set < 1 << NODES; set++) {
		u64 want = 0, have = 0;

		for (i = 0; i < ACCOUNTS; i++)
			if (!(mask_of(i) & ~set))
				want += assigned(i) + (i == a && node < 0 ? nr : 0) -
					(i == a && node >= 0 ? nr : 0);
		for (n = 0; n < NODES; n++)
			if (set & 1 << n) {
				if ((int)n == node && ledger.free[n] < nr)
					return false;
				have += ledger.free[n] - ((int)n == node ? nr : 0);
			}
		if (want > have)
			return false;
	}
	return true;
}

/* How many promises cannot be kept, whatever is tried */
static u64 excess(void)
{
	unsigned int set, n, i;
	u64 most = 0;

	for (set = 1; set < 1 << NODES; set++) {
		u64 want = 0, have = 0;

		for (i = 0; i < ACCOUNTS; i++)
			if (!(mask_of(i) & ~set))
				want += promised[i];
		for (n = 0; n < NODES; n++)
			if (set & 1 << n)
				have += ledger.free[n];
		if (want > have && want - have > most)
			most = want - have;
	}
	return most;
}

static void check_invariants(unsigned long seed, unsigned int step)
{
	unsigned int n, a;
	u64 broken = 0;

	for (n = 0; n < NODES; n++) {
		u64 sum = 0, gone = 0;

		for (a = 0; a < ACCOUNTS; a++) {
			sum += accounts[a].promised[n];
			gone += used[a][n];
			CHECK("invariant", accounts[a].allowed[n] || !accounts[a].promised[n],
			      "seed %lu step %u: account %u on node %u", seed, step, a, n);
		}
		CHECK("invariant", sum == ledger.taken[n] && sum <= ledger.free[n],
		      "seed %lu step %u: node %u", seed, step, n);
		CHECK("invariant", ledger.free[n] + gone == size[n] + ledger.debt[n],
		      "seed %lu step %u: node %u: %lu free", seed, step, n, ledger.free[n]);
	}
	for (a = 0; a < ACCOUNTS; a++) {
		u64 sum = 0, has = 0;

		for (n = 0; n < NODES; n++) {
			sum += accounts[a].promised[n];
			has += used[a][n];
		}
		broken += accounts[a].broken;
		CHECK("invariant", sum == assigned(a), "seed %lu step %u: account %u", seed, step,
		      a);
		CHECK("invariant", accounts[a].charged == promised[a] + has && accounts[a].charged <=
		      accounts[a].limit, "seed %lu step %u: account %u", seed, step, a);
	}
	CHECK("invariant", broken == excess(), "seed %lu step %u: %lu promises are broken, not %lu",
	      seed, step, broken, excess());
}

static void step(unsigned long seed, unsigned int i)
{
	unsigned int a = random_below(ACCOUNTS), n = random_below(NODES);
	u64 nr = 1 + random_below(12), back, broken;
	bool may;

	switch (random_below(seed % 2 ? 6 : 5)) {
	case 0:
	case 1:
		may = possible(a, nr, -1) && accounts[a].charged + nr <= accounts[a].limit;
		if (!dmem_ledger_promise(&ledger, &accounts[a], nr)) {
			CHECK("promise", may, "seed %lu step %u", seed, i);
			promised[a] += nr;
		} else {
			CHECK("promise", !may, "seed %lu step %u: refused", seed, i);
		}
		break;
	case 2:
		nr = nr < promised[a] ? nr : promised[a];
		dmem_ledger_release(&ledger, &accounts[a], nr);
		promised[a] -= nr;
		break;
	case 3:
		nr = nr < promised[a] ? nr : promised[a];
		if (!nr)
			break;
		may = (mask_of(a) & 1 << n) && assigned(a) >= nr && possible(a, nr, n);
		if (dmem_ledger_take(&ledger, &accounts[a], n, nr)) {
			CHECK("take", may, "seed %lu step %u", seed, i);
			promised[a] -= nr;
			used[a][n] += nr;
			if (random_below(4))
				break;
			back = seed % 2 ? random_below(nr + 1) : nr;
			dmem_ledger_untake(&ledger, &accounts[a], n, nr, back);
			promised[a] += nr;
			used[a][n] -= nr;
			size[n] -= nr - back;
		} else {
			CHECK("take", !may, "seed %lu step %u: node %u refused", seed, i, n);
		}
		break;
	case 4:
		nr = nr < used[a][n] ? nr : used[a][n];
		back = seed % 2 ? nr - !random_below(4) * random_below(nr + 1) : nr;
		dmem_ledger_put(&ledger, &accounts[a], n, nr, back);
		used[a][n] -= nr;
		size[n] -= nr - back;
		break;
	default:
		/* Never more than the node has, and mostly few. */
		nr = random_below(3) < size[n] && size[n] ? 1 : 0;
		broken = excess();
		back = dmem_ledger_withdraw(&ledger, n, nr);
		size[n] -= nr;
		CHECK("withdraw", back == excess() - broken, "seed %lu step %u: %lu broken", seed,
		      i, back);
	}
	check_invariants(seed, i);
}

static void test_random(unsigned long seed)
{
	unsigned int a, n, i;

	rng = seed * 0x9e3779b97f4a7c15 + 1;
	memset(promised, 0, sizeof(promised));
	memset(used, 0, sizeof(used));
	CHECK("random", !dmem_ledger_init(&ledger, NODES), "init");
	for (n = 0; n < NODES; n++)
		ledger.free[n] = size[n] = random_below(40);
	for (a = 0; a < ACCOUNTS; a++) {
		CHECK("random", !dmem_account_init(&accounts[a], &ledger), "init");
		for (n = 0; n < NODES; n++)
			accounts[a].allowed[n] = a == 0 || random_below(2);
		accounts[a].allowed[random_below(NODES)] = true;
		if (a == 1)
			accounts[a].limit = 20;
		dmem_account_open(&accounts[a], &ledger);
	}
	for (i = 0; i < 400; i++)
		step(seed, i);
	for (a = 0; a < ACCOUNTS; a++)
		dmem_account_destroy(&accounts[a]);
	dmem_ledger_destroy(&ledger);
}

static void test_no_memory(void)
{
	struct dmem_account account;
	struct dmem_ledger l;

	for (sim_fail_every = 1; sim_fail_every <= 6; sim_fail_every++) {
		sim_allocations = 0;
		CHECK("memory", dmem_ledger_init(&l, 3) == -ENOMEM, "init");
	}
	sim_fail_every = 0;
	CHECK("memory", !dmem_ledger_init(&l, 3), "init");
	for (sim_fail_every = 1; sim_fail_every <= 2; sim_fail_every++) {
		sim_allocations = 0;
		CHECK("memory", dmem_account_init(&account, &l) == -ENOMEM, "account");
	}
	sim_fail_every = 0;
	dmem_ledger_destroy(&l);
}

int main(void)
{
	unsigned long seed;

	test_no_memory();
	for (seed = 1; seed <= 400; seed++)
		test_random(seed);
	CHECK("all", !sim_warnings, "%lu warnings", sim_warnings);
	return check_result("ledger");
}
