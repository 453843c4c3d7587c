// The visit of README.md with pgjdbc: simple and extended queries, server-prepared statements, COPY manager.
import java.io.StringWriter;
import java.sql.*;
import java.util.*;

public class Visit {
    static final String QUERY = "SELECT id, name, ssn, email FROM patients ORDER BY id LIMIT ";

    public static void main(String[] args) throws Exception {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        Properties settings = new Properties();
        settings.setProperty("user", System.getenv("PGUSER"));
        settings.setProperty("password", System.getenv("PGPASSWORD"));
        settings.setProperty("sslmode", "verify-full");
        settings.setProperty("sslrootcert", System.getenv("PGSSLROOTCERT"));
        settings.setProperty("prepareThreshold", "2");
        try (Connection db = DriverManager.getConnection(url, settings)) {
            show("simple", rows(db.createStatement().executeQuery(QUERY + "3")));
            PreparedStatement prepared = db.prepareStatement(QUERY + "?");
            prepared.setInt(1, 3);
            show("parameter", rows(prepared.executeQuery()));
            String last = "";
            for (int i = 0; i < 6; i++) last = rows(prepared.executeQuery());
            show("prepared", last);
            show("binary", last);
            show("star", rows(db.createStatement().executeQuery("SELECT * FROM patients WHERE id = 1")));
            StringWriter copied = new StringWriter();
            new org.postgresql.copy.CopyManager(db.unwrap(org.postgresql.core.BaseConnection.class))
                .copyOut("COPY (SELECT id, ssn, email FROM patients ORDER BY id LIMIT 3) TO STDOUT", copied);
            StringJoiner lines = new StringJoiner(",", "[", "]");
            for (String line : copied.toString().split("\n")) {
                StringJoiner cells = new StringJoiner(",", "[", "]");
                for (String cell : line.split("\t")) cells.add(quote(cell));
                lines.add(cells.toString());
            }
            show("copy", lines.toString());
            System.out.println("{\"case\":\"blocked\",\"error\":" + quote(sqlstate(db, "DROP TABLE patients")) + "}");
            show("after", rows(db.createStatement().executeQuery("SELECT 1")));
            db.setAutoCommit(false);
            String denied = sqlstate(db, "DROP TABLE patients");
            String failed = sqlstate(db, "SELECT 1");
            db.rollback();
            db.setAutoCommit(true);
            System.out.println("{\"case\":\"transaction\",\"errors\":[" + quote(denied) + "," + quote(failed) + "]}");
            show("after_transaction", rows(db.createStatement().executeQuery("SELECT 1")));
        }
    }

    static String sqlstate(Connection db, String statement) {
        try (Statement run = db.createStatement()) {
            run.execute(statement);
            return null;
        } catch (SQLException error) {
            return error.getSQLState();
        }
    }

    static String rows(ResultSet result) throws SQLException {
        StringJoiner rows = new StringJoiner(",", "[", "]");
        int width = result.getMetaData().getColumnCount();
        while (result.next()) {
            StringJoiner cells = new StringJoiner(",", "[", "]");
            for (int column = 1; column <= width; column++) {
                Object value = result.getObject(column);
                cells.add(value instanceof Number ? value.toString() : quote(value == null ? null : value.toString()));
            }
            rows.add(cells.toString());
        }
        result.close();
        return rows.toString();
    }

    static void show(String name, String rows) {
        System.out.println("{\"case\":\"" + name + "\",\"rows\":" + rows + "}");
    }

    static String quote(String text) {
        if (text == null) return "null";
        return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\"";
    }
}
