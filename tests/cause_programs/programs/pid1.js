// Runs a command that leaves an orphan, and serves for ever.
require("child_process").execFileSync(process.argv[2], process.argv.slice(3));
setInterval(() => {}, 1000);
