import { expect, test } from "vitest";
import { nextTurn } from "./event-loop";

test("a turn lets timers fire, and wakes all who wait for it", async () => {
  let fired = false;
  setTimeout(() => {
    fired = true;
  }, 0);
  const waiting = [nextTurn(), nextTurn()];
  expect(fired).toBe(false);
  await Promise.all(waiting);
  while (!fired) await nextTurn(); // in as many turns as it takes until its time has come
});
