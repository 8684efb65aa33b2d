/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What was bad in earlier boots goes out of use again, before anybody can have it
 */

/*
 * Hands the ledger to the kernel, and notes this boot with its memory modules in it. What goes
 * wrong is logged and never keeps the host from coming up. Doing it again changes nothing.
 */
void setup_retire(int root_fd);
