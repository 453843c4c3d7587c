-- Other ways to the sample's protected columns, made by the database's owner.
CREATE VIEW renamed AS SELECT id AS number, ssn AS social, name FROM patients;
CREATE VIEW renamed_twice AS SELECT number AS a, social AS b FROM renamed;
CREATE VIEW computed AS SELECT id, 'no ' || replace(ssn, '-', '/') AS code, name FROM patients;
CREATE VIEW chosen AS SELECT id, CASE WHEN id > 0 THEN reverse(mrn) END AS ward, born FROM patients;
CREATE VIEW both_numbers AS SELECT id, reverse(ssn) AS number FROM patients UNION ALL SELECT id, mrn FROM patients;
CREATE VIEW people AS SELECT p.id, p AS person FROM patients p;
CREATE VIEW documents AS SELECT id, row_to_json(p)::text AS doc FROM patients p;
CREATE VIEW payments AS SELECT v.id, v.reason, p.name, p.card AS paid_with FROM visits v JOIN patients p ON p.id = v.patient_id;
CREATE VIEW renamed_later AS SELECT id, ssn FROM patients;
ALTER VIEW renamed_later RENAME COLUMN ssn TO plate;
CREATE MATERIALIZED VIEW stored AS SELECT id, reverse(ssn) AS tail, ssn AS social, name FROM patients WHERE id <= 50;
CREATE VIEW costs AS SELECT id, reason, cost_cents * 2 AS double_cost, day FROM visits;
CREATE VIEW busy AS SELECT reason, count(*) AS times, sum(cost_cents) AS cents FROM visits GROUP BY reason;
CREATE FUNCTION number_of(patient integer) RETURNS text LANGUAGE sql STABLE AS
    $$ SELECT reverse(ssn) FROM patients WHERE id = patient $$;
CREATE FUNCTION everybody() RETURNS SETOF patients LANGUAGE sql STABLE AS $$ SELECT * FROM patients WHERE id <= 20 $$;
CREATE VIEW by_function AS SELECT id, number_of(id) AS looked_up FROM visits;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO weir_clinic;
ANALYZE patients;
