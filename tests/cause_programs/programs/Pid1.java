/** Runs a command that leaves an orphan, and serves for ever. */
public class Pid1 {
    public static void main(String[] command) throws Exception {
        new ProcessBuilder(command).inheritIO().start().waitFor();
        Thread.sleep(1000_000);
    }
}
