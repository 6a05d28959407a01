-- By which Lightning backend a payment was received: several can be configured, and
-- the one that makes invoices can change while older invoices are paid.

-- NULL in rows of before: the backend that reports the payment.
ALTER TABLE lightning_receipts ADD COLUMN backend TEXT CHECK (length(backend) BETWEEN 1 AND 64);
