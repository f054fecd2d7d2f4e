// Node.js reaps in its event loop: one that blocks it leaves zombies.
require("child_process").spawn("sleep", ["0.3"]);
setTimeout(() => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}, 50);
