# Forks, and sleeps.
for (1 .. 3) {
    exit 0 unless fork;
}
sleep 1000;
