// Cancels a statement that runs, or one that is held as soon as its warning says so, then goes on with the same connection.
import java.sql.*;
import java.util.Properties;

public class Cancel {
    public static void main(String[] args) throws Exception {
        boolean held = args[0].equals("held");
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        Properties settings = new Properties();
        settings.setProperty("user", System.getenv("PGUSER"));
        settings.setProperty("password", System.getenv("PGPASSWORD"));
        settings.setProperty("sslmode", "verify-full");
        settings.setProperty("sslrootcert", System.getenv("PGSSLROOTCERT"));
        try (Connection db = DriverManager.getConnection(url, settings); Statement run = db.createStatement()) {
            Thread canceller = new Thread(() -> {
                try {
                    while (true) {
                        Thread.sleep(200);
                        if (!held || run.getWarnings() != null) run.cancel();
                    }
                } catch (InterruptedException done) {
                    // The statement is over.
                } catch (SQLException wrong) {
                    wrong.printStackTrace();
                }
            });
            canceller.start();
            try {
                run.execute(held ? "DELETE FROM visits" : "SELECT pg_sleep(600)");
            } catch (SQLException error) {
                System.out.println(error.getSQLState());
            }
            canceller.interrupt();
            canceller.join();
            for (int i = 0; i < 3; i++) {
                try (Statement after = db.createStatement(); ResultSet rows = after.executeQuery("SELECT 'alive'")) {
                    rows.next();
                    System.out.println(rows.getString(1));
                    break;
                } catch (SQLException late) {
                    // The last of several requests came late.
                }
            }
        }
    }
}
