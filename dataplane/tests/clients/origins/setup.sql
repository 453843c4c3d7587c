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
CREATE VIEW shouted AS SELECT id, upper(name) AS loud, ssn AS social, name || ' ' || ssn AS both_of, id + 1 AS more, 'x' AS mark, CASE WHEN ssn > '5' THEN name END AS by_case, coalesce(name, 'nobody') AS somebody FROM patients;
CREATE VIEW echoed AS SELECT id, lower(loud) AS low, reverse(both_of) AS backwards FROM shouted;
CREATE VIEW ranked AS SELECT id, upper(name) AS loud, rank() OVER (ORDER BY ssn) AS place FROM patients;
CREATE VIEW met AS SELECT v.id, upper(v.reason) AS why, upper(p.name) AS who, reverse(p.ssn) AS tail FROM visits v JOIN patients p ON p.id = v.patient_id;
CREATE VIEW told AS SELECT id, query_to_xml('SELECT ssn FROM patients WHERE id = 7', true, true, '')::text AS doc, ssn FROM patients;
CREATE MATERIALIZED VIEW stored AS SELECT id, reverse(ssn) AS tail, ssn AS social, name FROM patients WHERE id <= 50;
CREATE VIEW costs AS SELECT id, reason, cost_cents * 2 AS double_cost, day FROM visits;
CREATE VIEW busy AS SELECT reason, count(*) AS times, sum(cost_cents) AS cents FROM visits GROUP BY reason;
CREATE FUNCTION number_of(patient integer) RETURNS text LANGUAGE sql STABLE AS
    $$ SELECT reverse(ssn) FROM patients WHERE id = patient $$;
CREATE FUNCTION everybody() RETURNS SETOF patients LANGUAGE sql STABLE AS $$ SELECT * FROM patients WHERE id <= 20 $$;
CREATE VIEW by_function AS SELECT id, number_of(id) AS looked_up FROM visits;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO weir_clinic;
ANALYZE patients;
