-- The sample: 10,000 patients and their visits. No random(): the same rows every time. All people are invented.

REVOKE ALL ON SCHEMA public FROM PUBLIC;

-- 16 digits that pass the Luhn check: '4', a serial number of up to eight digits, and what makes the sum end in 0.
-- Every second digit counts double, with its own digits added up: 0 2 4 6 8 1 3 5 7 9. The '4' counts 8.
CREATE FUNCTION pg_temp.twice(digit integer) RETURNS integer LANGUAGE sql IMMUTABLE AS
$$ SELECT digit * 2 - CASE WHEN digit > 4 THEN 9 ELSE 0 END $$;
CREATE FUNCTION pg_temp.card(serial integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT '4' || lpad(serial::text, 14, '0') || (1000 - 8
        - pg_temp.twice(serial % 10)           - serial / 10 % 10
        - pg_temp.twice(serial / 100 % 10)     - serial / 1000 % 10
        - pg_temp.twice(serial / 10000 % 10)   - serial / 100000 % 10
        - pg_temp.twice(serial / 1000000 % 10) - serial / 10000000 % 10) % 10
$$;

CREATE TABLE patients (
    id    integer PRIMARY KEY,
    name  text NOT NULL,
    ssn   text NOT NULL,
    mrn   text NOT NULL,
    email text NOT NULL,
    phone text NOT NULL,
    card  text NOT NULL,
    notes jsonb NOT NULL,
    born  date NOT NULL
);

INSERT INTO patients
SELECT i,
       (ARRAY['Ada','Ben','Cleo','Dara','Eli','Fay','Gus','Hana','Ivo','June'])[1 + i % 10] || ' ' ||
       (ARRAY['Abbot','Brook','Castle','Dunn','Ellis','Frost','Grove','Hale','Ives','Jarvis','Knox'])[1 + i % 11],
       -- Area 001 to 665, group 01 to 99, serial 0001 to 9999: all of them numbers that may be issued.
       lpad((1 + i * 7 % 665)::text, 3, '0') || '-' || lpad((1 + i % 99)::text, 2, '0') || '-' ||
       lpad((1 + i * 13 % 9999)::text, 4, '0'),
       'MRN-' || lpad((i * 7919 % 10000019)::text, 8, '0'),
       'patient' || i || '@example.org',
       '+1-202-555-' || lpad((i % 10000)::text, 4, '0'),
       pg_temp.card(1000000 + i * 7919),
       jsonb_build_object('allergy', (ARRAY['none','penicillin','latex','pollen'])[1 + i % 4],
                          'contact', 'patient' || i || '@example.org', 'ward', i % 12),
       date '1930-01-01' + (i * 11 % 30000)
FROM generate_series(1, 10000) AS i;

-- One patient in a hundred is kept in a child table; reading `patients` reads both, 10,000 rows in all.
CREATE TABLE patients_archive (archived_on date NOT NULL DEFAULT '2025-01-01', PRIMARY KEY (id)) INHERITS (patients);
WITH moved AS (DELETE FROM ONLY patients WHERE id % 100 = 0 RETURNING *)
INSERT INTO patients_archive SELECT * FROM moved;

CREATE TABLE visits (
    id         integer PRIMARY KEY,
    patient_id integer NOT NULL,
    day        date NOT NULL,
    reason     text NOT NULL,
    cost_cents integer NOT NULL
);

INSERT INTO visits
SELECT i, 1 + i * 31 % 10000, date '2024-01-01' + i % 700,
       (ARRAY['check-up','x-ray','vaccination','surgery','consultation'])[1 + i % 5], 1000 + i * 37 % 90000
FROM generate_series(1, 10000) AS i;
CREATE INDEX ON visits (patient_id);

CREATE VIEW patient_contacts AS SELECT id, name, email AS mail, phone FROM patients;

CREATE MATERIALIZED VIEW patient_summary AS
SELECT p.id, p.name, p.ssn, p.email, count(v.id) AS visits
FROM patients p LEFT JOIN visits v ON v.patient_id = p.id
GROUP BY p.id, p.name, p.ssn, p.email;

CREATE TABLE patients_by_year (LIKE patients) PARTITION BY RANGE (born);
CREATE TABLE patients_before_1970 PARTITION OF patients_by_year FOR VALUES FROM (MINVALUE) TO ('1970-01-01');
CREATE TABLE patients_from_1970 PARTITION OF patients_by_year FOR VALUES FROM ('1970-01-01') TO (MAXVALUE);
INSERT INTO patients_by_year SELECT * FROM patients;

GRANT USAGE ON SCHEMA public TO weir_clinic;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO weir_clinic;
ANALYZE;
